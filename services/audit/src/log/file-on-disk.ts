import { constants, writeSync } from "node:fs";
import { type FileHandle, open, rename, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import { fileHeader } from "./frame.ts";
import type { LogFile } from "./log-file.ts";

/**
 * Opens the log at `path` (0600), or makes it with its header. The name is durable on return: a new file is synced under another name and
 * renamed, so a crash leaves no file or a file with a whole header.
 */
export async function openFileOnDisk(path: string): Promise<LogFile> {
  const existing = await openExisting(path);
  if (existing !== undefined) return new FileOnDisk(existing, path);
  const fresh = `${path}.new`;
  const handle = await open(
    fresh,
    constants.O_CREAT | constants.O_WRONLY | constants.O_TRUNC | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    await handle.writeFile(fileHeader);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(fresh, path);
  await syncDirectory(dirname(path));
  const created = await openExisting(path);
  if (created === undefined) throw new Error(`${path} vanished while it was made`);
  return new FileOnDisk(created, path);
}

async function openExisting(path: string): Promise<FileHandle | undefined> {
  try {
    // O_APPEND: the kernel itself refuses to place a write over an older record.
    return await open(path, constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

class FileOnDisk implements LogFile {
  readonly #handle: FileHandle;
  readonly #path: string;

  constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#handle.read(buffer, filled, length - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }

  async append(bytes: Uint8Array): Promise<void> {
    // write(2) may take fewer bytes than asked, for example at the last block of a full disk; the next one says why. Synchronous: a copy into the
    // page cache takes microseconds, and a trip through the thread pool takes as long as the fsync behind it on a busy machine.
    for (let written = 0; written < bytes.length; ) {
      written += writeSync(this.#handle.fd, bytes, written, bytes.length - written);
    }
  }

  async sync(): Promise<void> {
    // fdatasync also makes the new length durable, which is all of the metadata that reading back needs.
    await this.#handle.datasync();
  }

  async truncate(size: number): Promise<void> {
    await this.#handle.truncate(size);
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#path);
    return bavail * bsize;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
