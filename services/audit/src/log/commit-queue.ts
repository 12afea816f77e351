/** Items that wait for one commit, and who waits for them. */
type Waiting<Item, Result> = {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
};

/**
 * Group commit: whatever waits when a commit ends is the next one, so a lone item never waits for company and a crowd shares one fsync.
 *
 * 1. At most one commit runs at a time.
 * 2. Items are committed in the order they came, at most `maxBatch` at once.
 * 3. After a failed commit every waiting and every later item is refused with that failure.
 */
export class CommitQueue<Item, Result> {
  readonly #maxBatch: number;
  readonly #commit: (items: readonly Item[]) => Promise<readonly Result[]>;
  #waiting: Array<Waiting<Item, Result>> = [];
  #running: Promise<void> | undefined;
  #failure: unknown;

  /** `commit` answers one result per item. */
  constructor(options: { maxBatch: number; commit: (items: readonly Item[]) => Promise<readonly Result[]> }) {
    this.#maxBatch = options.maxBatch;
    this.#commit = options.commit;
  }

  /** Items not yet taken by a commit. */
  get length(): number {
    return this.#waiting.length;
  }

  /** Resolves when the commit that took `item` is done. */
  push(item: Item): Promise<Result> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const result = new Promise<Result>((resolve, reject) => this.#waiting.push({ item, resolve, reject }));
    this.#running ??= this.#run();
    return result;
  }

  /** Resolves when nothing waits and nothing runs. */
  async drained(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    // Callers that became ready in the same turn of the event loop are let in first. Not a timer: it costs microseconds.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, this.#maxBatch);
      this.#waiting = this.#waiting.slice(this.#maxBatch);
      try {
        const results = await this.#commit(batch.map((entry) => entry.item));
        for (const [index, entry] of batch.entries()) {
          const result = results[index];
          if (result === undefined) throw new Error(`commit answered ${results.length} of ${batch.length} items`);
          entry.resolve(result);
        }
      } catch (error) {
        this.#failure = error;
        for (const entry of [...batch, ...this.#waiting]) entry.reject(error);
        this.#waiting = [];
      }
    }
    this.#running = undefined;
  }
}
