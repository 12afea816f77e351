import { fail } from "../errors.ts";

const bytesBetweenChecks = 1024 * 1024;

/** Keeps appends from taking the last of the disk: what is left is for the index, for the operator and for a clean stop. */
export class DiskReserve {
  readonly #reserveBytes: number;
  readonly #freeBytes: () => Promise<number>;
  readonly #changed: (low: boolean, freeBytes: number) => void;
  #low = false;
  #free = Number.NaN;
  #unchecked = 0;

  constructor(
    reserveBytes: number,
    freeBytes: () => Promise<number>,
    changed: (low: boolean, freeBytes: number) => void,
  ) {
    this.#reserveBytes = reserveBytes;
    this.#freeBytes = freeBytes;
    this.#changed = changed;
  }

  /** True from the measurement that found too little until one that finds enough. */
  get low(): boolean {
    return this.#low;
  }

  /** Throws DISK_RESERVE while the disk is low. */
  require(): void {
    if (!this.#low) return;
    throw fail("DISK_RESERVE", "the disk of the audit log is nearly full", {
      metadata: { free_bytes: String(this.#free), reserve_bytes: String(this.#reserveBytes) },
    });
  }

  async refresh(): Promise<void> {
    this.#unchecked = 0;
    this.#free = await this.#freeBytes();
    const low = this.#free < this.#reserveBytes;
    if (low === this.#low) return;
    this.#low = low;
    this.#changed(low, this.#free);
  }

  /** Measures again after every MiB that was written. */
  async wrote(bytes: number): Promise<void> {
    this.#unchecked += bytes;
    if (this.#unchecked >= bytesBetweenChecks) await this.refresh();
  }
}
