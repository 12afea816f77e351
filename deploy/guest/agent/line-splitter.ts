const newline = 10;
/** A line without an end would be kept for as long as its writer likes: what is longer is cut into lines of this size. */
const maximumLineBytes = 8000;

/** Cuts what a stream brings into lines, and keeps at most one line that has no end yet. */
export class LineSplitter {
  readonly #emit: (line: string) => void;
  #held: Buffer = Buffer.alloc(0);

  constructor(emit: (line: string) => void) {
    this.#emit = emit;
  }

  push(chunk: Buffer): void {
    let rest = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    for (;;) {
      const end = rest.indexOf(newline);
      const isLong = end > maximumLineBytes || (end === -1 && rest.length > maximumLineBytes);
      if (end === -1 && !isLong) break;
      this.#emit(rest.toString("utf8", 0, isLong ? maximumLineBytes : end));
      rest = rest.subarray(isLong ? maximumLineBytes : end + 1);
    }
    // A copy: a view would keep the whole chunk.
    this.#held = Buffer.from(rest);
  }

  /** The stream has ended: what is left is a line too. */
  end(): void {
    if (this.#held.length > 0) this.#emit(this.#held.toString("utf8"));
    this.#held = Buffer.alloc(0);
  }
}
