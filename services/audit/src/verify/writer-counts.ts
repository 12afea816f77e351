import type { LogRecord } from "../log/canonical.ts";

/** Runs of writers that are followed at once; one that has ended long ago makes place for the next. */
const maxRuns = 1000;

type Run = { seen: number; highest: number };

/**
 * Counts what the writers numbered and the log does not have. Each run of a writer numbers its records from 1, and they may come late and out of
 * order, so only the totals tell: numbers given out, less records seen.
 */
export class WriterCounts {
  readonly #runs = new Map<string, Run>();
  #missingOfEndedRuns = 0;

  see({ writer, draft }: LogRecord): void {
    if (draft.writerSequence === 0) return;
    const key = `${writer} ${draft.writerBootId}`;
    const run = this.#runs.get(key) ?? { seen: 0, highest: 0 };
    run.seen += 1;
    run.highest = Math.max(run.highest, draft.writerSequence);
    // Set anew, so that the map is in the order of the last record.
    this.#runs.delete(key);
    this.#runs.set(key, run);
    const [oldest] = this.#runs;
    if (this.#runs.size <= maxRuns || oldest === undefined) return;
    this.#missingOfEndedRuns += missingOf(oldest[1]);
    this.#runs.delete(oldest[0]);
  }

  missing(): number {
    return [...this.#runs.values()].reduce((sum, run) => sum + missingOf(run), this.#missingOfEndedRuns);
  }
}

function missingOf({ seen, highest }: Run): number {
  return Math.max(0, highest - seen);
}
