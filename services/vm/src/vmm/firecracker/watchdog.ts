/** What one look at a VMM came to: it answers; it could not be asked, which says nothing of it; or it has ended. */
export type PingOutcome = "answers" | "unknown" | "ended";

export interface WatchdogOptions {
  /** Rejects when the VMM was asked and did not answer as it should; bounded in time by its own deadline. */
  readonly ping: () => Promise<PingOutcome>;
  /** Called once, with the last failure. Nothing is asked any more after that. */
  readonly onUnresponsive: (error: unknown) => void;
  /** From the beginning of one ping to that of the next; at once when a ping took longer. */
  readonly intervalMs?: number;
  readonly maxFailures?: number;
  readonly now?: () => number;
  /** Runs `work` after `delayMs`; the function that it returns takes that back. */
  readonly schedule?: (work: () => void, delayMs: number) => () => void;
}

/**
 * Asks one VMM again and again whether it still answers. Three pings that fail in a row, each within a deadline of 5 s, mean that it does not:
 * one that hangs is noticed within 4 + 3 x 5 s.
 */
export class Watchdog {
  readonly #options: Required<WatchdogOptions>;
  #cancel: (() => void) | undefined;
  #stopped = false;
  #failures = 0;

  constructor(options: WatchdogOptions) {
    this.#options = {
      intervalMs: 4_000,
      maxFailures: 3,
      now: () => performance.now(),
      schedule: scheduleTimer,
      ...options,
    };
  }

  start(): void {
    this.#next(this.#options.intervalMs);
  }

  /** Whether it still looks: it was not stopped, and the VMM has neither ended nor been reported. */
  get active(): boolean {
    return !this.#stopped;
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  #next(delayMs: number): void {
    if (!this.#stopped) this.#cancel = this.#options.schedule(() => void this.#look(), delayMs);
  }

  async #look(): Promise<void> {
    const { ping, onUnresponsive, intervalMs, maxFailures, now } = this.#options;
    const began = now();
    try {
      const outcome = await ping();
      if (outcome === "ended") this.stop();
      if (outcome === "answers") this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      if (this.#failures >= maxFailures && !this.#stopped) {
        this.stop();
        onUnresponsive(error);
      }
    }
    this.#next(Math.max(0, intervalMs - (now() - began)));
  }
}

function scheduleTimer(work: () => void, delayMs: number): () => void {
  const timer = setTimeout(work, delayMs).unref();
  return () => clearTimeout(timer);
}
