import { lstatSync } from "node:fs";
import { dirname } from "node:path";

/** Root may write, the reader's group may read, nobody else anything. */
const widestMode = 0o640;
const permissionBits = 0o7777;
const writableByOthers = 0o022;

/**
 * Throws unless `path` is a key that one group can read and only root can replace: a file of root and of `readerGid`, no more open than
 * 0640, below directories that only root can write. Whoever can write a directory above a key can put another in its place.
 */
export function requireClosedKey(path: string, readerGid: number): void {
  const key = lstatSync(path);
  const { uid, gid, mode } = key;
  const says = `${path} is ${(mode & permissionBits).toString(8)} ${uid}:${gid}`;
  if (!key.isFile()) throw new Error(`${path} is not a regular file`);
  if (uid !== 0 || gid !== readerGid || (mode & permissionBits & ~widestMode) !== 0) {
    throw new Error(`${says}; a key has to be 0640 or less, of root and group ${readerGid}`);
  }
  for (let parent = dirname(path); ; parent = dirname(parent)) {
    const status = lstatSync(parent);
    if (!status.isDirectory()) throw new Error(`${parent}, above the key ${path}, is not a directory`);
    if (status.uid !== 0 || (status.mode & writableByOthers) !== 0) {
      throw new Error(`${parent}, above the key ${path}, can be written by others than root`);
    }
    if (parent === "/") return;
  }
}
