import type { CheckpointStore } from "./store.ts";

/** Notes that wait for one store. When there are more, some in the middle are left out: each later one covers them. */
const maxWaiting = 256;
const firstPauseMs = 1000;
const maxPauseMs = 15_000;

/** What is told of a store. */
export interface PublisherObserver {
  /** A note has waited for longer than the bound: an alarm, once, until `caughtUp`. */
  late(store: string, waitingMs: number, error: unknown): void;
  caughtUp(store: string): void;
}

/** Brings checkpoints to one store. A store that fails delays nothing but itself. */
export interface Publisher {
  /** Of the store. */
  readonly kind: CheckpointStore["kind"];
  /** How long the oldest note has waited, in ms; 0 when none does. */
  waitingMs(): number;
  offer(note: string): void;
  /** Sends what waits, unless a failure was too recent; to be called every second. Never rejects. */
  step(signal: AbortSignal): Promise<void>;
}

export function createPublisher(options: {
  readonly store: CheckpointStore;
  /** How long a note may wait before that is an alarm. */
  readonly lateMs: number;
  readonly now: () => number;
  readonly observer: PublisherObserver;
}): Publisher {
  const { store, now, observer } = options;
  let waiting: { readonly note: string; readonly sinceMs: number }[] = [];
  let pauseMs = 0;
  let notBeforeMs = 0;
  let isLate = false;
  let failure: unknown;

  const waitedMs = (): number => {
    const [oldest] = waiting;
    return oldest === undefined ? 0 : now() - oldest.sinceMs;
  };

  const judge = (): void => {
    const [oldest] = waiting;
    const waitingMs = waitedMs();
    if (!isLate && waitingMs > options.lateMs) observer.late(store.name, waitingMs, failure);
    if (isLate && oldest === undefined) observer.caughtUp(store.name);
    isLate = isLate ? oldest !== undefined : waitingMs > options.lateMs;
  };

  return {
    kind: store.kind,
    waitingMs: waitedMs,
    offer(note) {
      // The oldest stays, since it says how long this store has been behind.
      if (waiting.length >= maxWaiting) waiting = waiting.filter((_, at) => at % 2 === 0);
      waiting.push({ note, sinceMs: now() });
    },
    async step(signal) {
      const batch = waiting;
      if (batch.length > 0 && now() >= notBeforeMs) {
        try {
          const notes = batch.map(({ note }) => note);
          await store.put(notes, signal);
          const sent = new Set(batch);
          waiting = waiting.filter((entry) => !sent.has(entry));
          pauseMs = 0;
        } catch (error) {
          failure = error;
          pauseMs = Math.min(maxPauseMs, Math.max(firstPauseMs, pauseMs * 2));
          notBeforeMs = now() + pauseMs;
        }
      }
      judge();
    },
  };
}
