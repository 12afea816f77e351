import { EventEmitter, once } from "node:events";

/** One line as it was written, without its end, and when. */
export type LogLine = { readonly timeMs: number; readonly line: string };

export type ReadOptions = {
  /** How many of the kept lines to begin with; 0 is all. */
  readonly tailLines: number;
  /** Whether to wait for the lines that come. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
};

export const maximumLines = 10_000;
const maximumBytes = 1024 * 1024;
/** What the contract allows a line to have. */
const maximumLineBytes = 8192;

/** The last lines of a log: at most 10,000, and at most 1 MiB of text. */
export class LogRing {
  readonly #lines: LogLine[] = [];
  readonly #appended = new EventEmitter();
  #bytes = 0;
  /** Counts every line there ever was: the number of the next one. */
  #next = 0;

  constructor() {
    // Each reader that follows listens; how many there are is bounded where they come from.
    this.#appended.setMaxListeners(0);
  }

  append(text: string): void {
    const line = clip(text);
    this.#lines.push({ timeMs: Date.now(), line });
    this.#next += 1;
    this.#bytes += Buffer.byteLength(line);
    while (this.#lines.length > maximumLines || this.#bytes > maximumBytes) {
      this.#bytes -= Buffer.byteLength(this.#lines.shift()?.line ?? "");
    }
    this.#appended.emit("line");
  }

  /** A reader that is slower than the log costs no memory: it misses lines, and is told how many. */
  async *read({ tailLines, follow, signal }: ReadOptions): AsyncGenerator<LogLine> {
    const end = follow ? Number.POSITIVE_INFINITY : this.#next;
    const first = this.#next - this.#lines.length;
    let next = tailLines === 0 ? first : Math.max(first, this.#next - tailLines);
    while (next < end && !signal.aborted) {
      const oldest = this.#next - this.#lines.length;
      if (next < oldest) {
        yield { timeMs: Date.now(), line: `[${oldest - next} lines are not kept any more]` };
        next = oldest;
        continue;
      }
      const line = this.#lines[next - oldest];
      if (line === undefined) {
        await once(this.#appended, "line", { signal }).catch(() => undefined); // the signal ends the loop
        continue;
      }
      next += 1;
      yield line;
    }
  }
}

function clip(text: string): string {
  if (Buffer.byteLength(text) <= maximumLineBytes) return text;
  // A character that is cut in two becomes a replacement of three bytes.
  return Buffer.from(text)
    .subarray(0, maximumLineBytes - 3)
    .toString("utf8");
}
