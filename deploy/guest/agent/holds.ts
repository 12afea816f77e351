import { fail, invalid } from "./errors.ts";

export const maximumHoldMs = 300_000;
const maximumHolds = 16;
const holdName = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * What the workload asks to be kept awake for. Each ends by itself; the host counts them, and for how long it heeds them is the host's to decide. Time
 * is the process's own.
 */
export class Holds {
  readonly #ends = new Map<string, number>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Takes a hold, or renews the one of that name. Throws INVALID_FIELD, TOO_MANY_HOLDS. */
  acquire(name: string, durationMs: number): void {
    if (!holdName.test(name)) throw invalid("hold_id", "1 to 64 letters, digits, hyphens or underscores");
    if (!(durationMs > 0 && durationMs <= maximumHoldMs))
      throw invalid("duration", "must be more than 0 and at most 300 s");
    if (!this.#ends.has(name) && this.count >= maximumHolds)
      throw fail("TOO_MANY_HOLDS", `at most ${maximumHolds} holds at once`);
    this.#ends.set(name, this.#nowMs() + durationMs);
  }

  /** Safe to repeat. */
  release(name: string): void {
    this.#ends.delete(name);
  }

  get count(): number {
    for (const [name, endMs] of this.#ends) if (endMs <= this.#nowMs()) this.#ends.delete(name);
    return this.#ends.size;
  }
}
