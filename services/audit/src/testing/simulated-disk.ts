import { fileHeader } from "../log/frame.ts";
import type { LogFile } from "../log/log-file.ts";

const pageBytes = 4096;

/** What can go wrong with a simulated disk. */
export type DiskFaults = {
  /** Bytes that fit; an append beyond them writes what fits and fails with ENOSPC. */
  capacityBytes?: number;
  /** The next `sync` fails with EIO, and the pages it should have written are lost at the power cut. */
  failSync?: boolean;
  /** `sync` returns at once and makes nothing durable: what a log without fsync stands on. */
  ignoreSync?: boolean;
};

/**
 * A file on a disk with a page cache, in memory. What was not synced survives a power cut page by page or not at all, in no order, as write-back on
 * ext4 or XFS may leave it. Given the same `random` it loses the same pages.
 */
export class SimulatedDisk implements LogFile {
  readonly faults: DiskFaults;
  #cached: Buffer;
  #stable: Buffer;

  constructor(faults: DiskFaults = {}, content: Uint8Array = fileHeader) {
    this.faults = faults;
    this.#cached = Buffer.from(content);
    this.#stable = Buffer.from(content);
  }

  /** What a reader sees now. */
  content(): Buffer {
    return Buffer.from(this.#cached);
  }

  /** The disk after the power came back. `random` gives numbers in [0, 1). */
  powerCut(random: () => number): SimulatedDisk {
    const newLength = random() < 0.5 ? this.#cached.length : this.#stable.length;
    const survived = Buffer.alloc(newLength);
    this.#stable.copy(survived);
    for (let at = 0; at < newLength; at += pageBytes) {
      if (random() < 0.5) this.#cached.copy(survived, at, at, Math.min(at + pageBytes, newLength));
    }
    return new SimulatedDisk({ ...this.faults }, survived);
  }

  async size(): Promise<number> {
    return this.#cached.length;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    return Buffer.from(this.#cached.subarray(offset, offset + length));
  }

  async append(bytes: Uint8Array): Promise<void> {
    const space = (this.faults.capacityBytes ?? Number.POSITIVE_INFINITY) - this.#cached.length;
    this.#cached = Buffer.concat([this.#cached, bytes.subarray(0, Math.max(0, space))]);
    if (space < bytes.length) throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
  }

  async sync(): Promise<void> {
    if (this.faults.failSync === true) {
      this.faults.failSync = false;
      throw Object.assign(new Error("EIO: i/o error, fdatasync"), { code: "EIO" });
    }
    if (this.faults.ignoreSync !== true) this.#stable = Buffer.from(this.#cached);
  }

  async truncate(size: number): Promise<void> {
    this.#cached = Buffer.from(this.#cached.subarray(0, size));
  }

  async freeBytes(): Promise<number> {
    return (this.faults.capacityBytes ?? Number.MAX_SAFE_INTEGER) - this.#cached.length;
  }

  async close(): Promise<void> {}
}
