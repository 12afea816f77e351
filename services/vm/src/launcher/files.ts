import {
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { identityDriveBytes, LauncherError } from "./protocol.ts";

/** What the drive of a guest holds that is to wait for its identity: its first letter says so. */
export const waitingDrive: Uint8Array = Buffer.from("wait\n");

/** Writes a new identity drive: `content` padded with zeros to 64 KiB, readable by `uid` alone. */
export function writeIdentityDrive(file: string, content: Uint8Array, uid: number): void {
  if (existsSync(file)) unlinkSync(file);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const descriptor = openSync(file, flags, 0o400);
  try {
    const padded = new Uint8Array(identityDriveBytes);
    padded.set(content);
    writeAll(descriptor, padded);
    fchownSync(descriptor, uid, uid);
  } finally {
    closeSync(descriptor);
  }
}

/** Overwrites the identity drive with zeros. Refuses anything but the file that `writeIdentityDrive` made. */
export function zeroIdentityDrive(file: string, uid: number): void {
  fillIdentityDrive(file, new Uint8Array(), uid);
}

/** The same with `content`, padded with zeros: the drive of a guest that waits for it. */
export function fillIdentityDrive(file: string, content: Uint8Array, uid: number): void {
  const descriptor = openSync(file, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = fstatSync(descriptor);
    const ours = found.isFile() && found.nlink === 1 && found.uid === uid && found.size === identityDriveBytes;
    if (!ours) throw new LauncherError("HOST_UNSAFE", "the identity drive is not the file that the launcher made");
    const padded = new Uint8Array(identityDriveBytes);
    padded.set(content);
    writeAll(descriptor, padded);
    padded.fill(0);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) written += writeSync(descriptor, bytes, written, bytes.length - written, written);
}

/** Throws HOST_UNSAFE unless root alone can change `path` and every directory above it, and none of them is a symbolic link. */
export function requireRootOnly(path: string): void {
  for (let current = path; ; current = dirname(current)) {
    const found = lstatSync(current);
    if (found.isSymbolicLink() || found.uid !== 0 || (found.mode & 0o022) !== 0) {
      throw new LauncherError("HOST_UNSAFE", `${current} can be changed by others than root`);
    }
    if (current === "/") break;
  }
  if (realpathSync(path) !== path) throw new LauncherError("HOST_UNSAFE", `${path} is not its real path`);
}

/**
 * Deletes `path` and what is below it, in order of name, without following links and without leaving its file system. Safe to repeat.
 * A directory's directories are moved up before it goes: a VMM may have nested them deeper than a path can be long.
 */
export function removeTree(path: string): void {
  const { dev } = lstatSync(dirname(path));
  const kindOf = (at: string) => {
    const found = lstatSync(at, { throwIfNoEntry: false });
    if (found !== undefined && found.dev !== dev)
      throw new LauncherError("HOST_UNSAFE", `${at} is on another file system`);
    return found === undefined ? "none" : found.isDirectory() ? "directory" : "other";
  };
  const kind = kindOf(path);
  if (kind === "other") unlinkSync(path);
  if (kind !== "directory") return;
  let moved = 0;
  for (let names = readdirSync(path).sort(); names.length > 0; names = readdirSync(path).sort()) {
    for (const name of names) {
      const entry = `${path}/${name}`;
      if (kindOf(entry) !== "directory") {
        unlinkSync(entry);
        continue;
      }
      for (const child of readdirSync(entry)) {
        if (kindOf(`${entry}/${child}`) === "other") unlinkSync(`${entry}/${child}`);
        else renameSync(`${entry}/${child}`, freeName());
      }
      rmdirSync(entry);
    }
  }
  rmdirSync(path);

  function freeName(): string {
    do moved += 1;
    while (lstatSync(`${path}/.moved-${moved}`, { throwIfNoEntry: false }) !== undefined);
    return `${path}/.moved-${moved}`;
  }
}
