import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import type { Account } from "./users.ts";

/** Makes `path` a directory with exactly this owner and mode. Throws if something else is there: a link would redirect root's writes. */
export function ensureDirectory(path: string, owner: Account, mode: number): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  if (!lstatSync(path).isDirectory()) throw new Error(`${path} exists and is not a directory`);
  chownSync(path, owner.uid, owner.gid);
  // After chown, which clears the set-group-id bit.
  chmodSync(path, mode);
}

/** Writes a file that is complete, owned and closed to others before it has its name. */
export function writePrivate(path: string, content: string | Uint8Array, owner: Account, mode: number): void {
  const draft = `${path}.draft`;
  rmSync(draft, { force: true });
  const descriptor = openSync(
    draft,
    constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    writeSync(descriptor, typeof content === "string" ? Buffer.from(content) : content);
    fchownSync(descriptor, owner.uid, owner.gid);
    fchmodSync(descriptor, mode);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(draft, path);
}

/** Writes a file that everyone may read and only root may write. */
export function writePublic(path: string, content: string | Uint8Array): void {
  writePrivate(path, content, { uid: 0, gid: 0 }, 0o644);
}
