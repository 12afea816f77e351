import { fail } from "../errors.ts";

/** A place among the boots that run now. Disposing it lets the next one start. */
export type BootPlace = Disposable;

/** First come, first served; bounded. */
export interface BootQueue {
  readonly waiting: number;
  /** Throws BOOT_QUEUE_FULL, or what the queue was made with, at once, or the signal's reason while waiting. */
  enter(signal: AbortSignal): Promise<BootPlace>;
}

/**
 * Guests that boot at the same time on the same core only slow one another down (measured: 8 at once on 2 cores take 31 s,
 * 4 s each in turn), so only as many boot as there are cores.
 */
export function createBootQueue(concurrent: number, maxWaiting: number, full = bootsWait): BootQueue {
  let running = 0;
  const waiting: (() => void)[] = [];

  function place(): BootPlace {
    let left = false;
    return {
      [Symbol.dispose]: () => {
        if (left) return;
        left = true;
        const next = waiting.shift();
        if (next === undefined) running--;
        else next();
      },
    };
  }

  return {
    get waiting() {
      return waiting.length;
    },
    enter: async (signal) => {
      signal.throwIfAborted();
      if (running < concurrent) {
        running++;
        return place();
      }
      if (waiting.length >= maxWaiting) {
        throw full(maxWaiting);
      }
      await new Promise<void>((resolve, reject) => {
        const admit = () => {
          signal.removeEventListener("abort", leave);
          resolve();
        };
        const leave = () => {
          waiting.splice(waiting.indexOf(admit), 1);
          reject(signal.reason);
        };
        waiting.push(admit);
        signal.addEventListener("abort", leave, { once: true });
      });
      return place();
    },
  };
}

const bootsWait = (waiting: number) => fail("BOOT_QUEUE_FULL", `${waiting} boots are waiting already`);
