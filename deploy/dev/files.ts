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

export type Owner = { readonly uid: number; readonly gid: number };

/** Makes `path` a directory with exactly this owner and mode. Throws if something else is there: a link would redirect root's writes. */
export function ensureDirectory(path: string, owner: Owner, mode: number): void {
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

/**
 * Writes a file that is complete, owned and closed to others before it has its name: it is created with its mode, so there is no moment
 * at which it is more open. If any step fails, the error is thrown, nothing of the new content stays and the file is what it was.
 */
export function writePrivate(path: string, content: string | Uint8Array, owner: Owner, mode: number): void {
  writePrivateTogether([{ path, content }], owner, mode);
}

/** Writes files that belong together, so that the time in which one is new and another is not is as short as renaming them takes. */
export function writePrivateTogether(files: readonly PrivateFile[], owner: Owner, mode: number): void {
  try {
    for (const { path, content } of files) writeDraft(`${path}.draft`, content, owner, mode);
    for (const { path } of files) renameSync(`${path}.draft`, path);
  } catch (error) {
    for (const { path } of files) rmSync(`${path}.draft`, { force: true });
    throw error;
  }
}

export interface PrivateFile {
  readonly path: string;
  readonly content: string | Uint8Array;
}

function writeDraft(draft: string, content: string | Uint8Array, owner: Owner, mode: number): void {
  rmSync(draft, { force: true });
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
  const descriptor = openSync(draft, flags, mode);
  try {
    fchownSync(descriptor, owner.uid, owner.gid);
    // The umask may have left less than `mode`.
    fchmodSync(descriptor, mode);
    writeSync(descriptor, typeof content === "string" ? Buffer.from(content) : content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Writes a file that everyone may read and only root may write. */
export function writePublic(path: string, content: string | Uint8Array): void {
  writePrivate(path, content, { uid: 0, gid: 0 }, 0o644);
}
