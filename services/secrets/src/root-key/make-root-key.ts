import { randomBytes } from "node:crypto";
import { closeSync, constants, fsyncSync, openSync, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { rootKeyBytes } from "./root-key.ts";

/** Makes a root key file, mode 0400, owned by the caller. Throws if anything is there already: a replaced root key loses every secret. */
export function makeRootKey(path: string): void {
  const bytes = randomBytes(rootKeyBytes);
  const descriptor = openSync(
    path,
    constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW,
    0o400,
  );
  try {
    writeSync(descriptor, bytes);
    fsyncSync(descriptor);
  } finally {
    bytes.fill(0);
    closeSync(descriptor);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const path = process.argv[2];
  if (path === undefined || process.argv.length !== 3) {
    process.stderr.write("usage: node make-root-key.ts PATH\n");
    process.exit(2);
  }
  try {
    makeRootKey(path);
  } catch (error) {
    process.stderr.write(`root key was not made: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
}
