import { createReadStream, createWriteStream, mkdirSync, statfsSync } from "node:fs";
import { lstat, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import { type SealedState, sealedFileName } from "../store/sealed-states.ts";

/** Where memories are: sealed on disk, and as plain text only in the spool, which is a tmpfs. */
export interface SleepFiles {
  sealedPath(sealed: Pick<SealedState, "vmId" | "counter">): string;
  /** A stream into a microVM's new spool file; one that was there is gone. Aborting `signal` breaks it. */
  writeSpool(vmId: string, signal: AbortSignal): Writable;
  readSpool(vmId: string): Readable;
  dropSpool(vmId: string): Promise<void>;
  /** What all sealed files have taken of their disk, those that are being written included. */
  sealedBytes(): Promise<number>;
  /** Removes whatever a microVM has here. Safe to repeat. */
  remove(vmId: string): Promise<void>;
  /** Removes every file that `isWanted` does not know. */
  sweep(isWanted: (file: { readonly vmId: string; readonly name: string }) => boolean): Promise<void>;
}

/** What is written meanwhile goes in one call, and so does what is read ahead. */
const spoolBufferBytes = 1024 * 1024;

/** Makes both directories, 0700. */
export function openSleepFiles(sealedDir: string, spoolDir: string): SleepFiles {
  for (const directory of [sealedDir, spoolDir]) mkdirSync(directory, { recursive: true, mode: 0o700 });
  const spoolPath = (vmId: string) => join(spoolDir, `${vmId}.state`);
  const filesOf = async (directory: string) =>
    (await readdir(directory)).map((name) => ({ name, vmId: /^[0-9a-f]{32}/.exec(name)?.[0] ?? "", directory }));
  const everyFile = async () => [...(await filesOf(sealedDir)), ...(await filesOf(spoolDir))];
  return {
    sealedPath: (sealed) => join(sealedDir, sealedFileName(sealed)),
    writeSpool: (vmId, signal) =>
      createWriteStream(spoolPath(vmId), { flags: "w", mode: 0o600, highWaterMark: spoolBufferBytes, signal }),
    readSpool: (vmId) => createReadStream(spoolPath(vmId), { highWaterMark: spoolBufferBytes }),
    dropSpool: (vmId) => rm(spoolPath(vmId), { force: true }),
    async sealedBytes() {
      const sizes = (await filesOf(sealedDir)).map(({ name }) => takenBytes(join(sealedDir, name)));
      return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
    },
    async remove(vmId) {
      let isChanged = false;
      for (const file of await everyFile()) {
        if (file.vmId !== vmId) continue;
        await rm(join(file.directory, file.name), { force: true });
        isChanged = true;
      }
      if (isChanged) await syncDirectory(sealedDir);
    },
    async sweep(isWanted) {
      for (const file of await everyFile()) {
        if (!isWanted(file)) await rm(join(file.directory, file.name), { force: true });
      }
    },
  };
}

async function takenBytes(path: string): Promise<number> {
  try {
    return (await lstat(path)).blocks * 512;
  } catch (error) {
    if (isAbsence(error)) return 0; // it was used up meanwhile
    throw error;
  }
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, "r");
  await directory.sync();
}

const tmpfsMagic = 0x01021994;

/** Throws unless `path` is on a tmpfs: the memory of a guest is never plain text on a disk. */
export function requireTmpfs(path: string): void {
  if (statfsSync(path).type !== tmpfsMagic) throw new Error(`spoolDir ${path} is not on a tmpfs`);
}
