/** Items that wait for one commit, and who waits for them. */
type Waiting<Item, Result> = {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
};

export type CommitQueueOptions<Item, Result> = {
  readonly maxBatch: number;
  /** Answers one result per item. */
  readonly commit: (items: readonly Item[]) => Promise<readonly Result[]>;
  /** How many items of a lane go into a batch for each one of a lane with share 1; at least 1. */
  readonly shareOf?: (lane: string) => number;
};

/**
 * Group commit: whatever waits when a commit ends is the next one, so a lone item never waits for company and a crowd shares one fsync.
 *
 * 1. At most one commit runs at a time.
 * 2. Items of one lane are committed in the order they came, at most `maxBatch` of all lanes at once.
 * 3. A batch takes from every lane that waits, by share: however many items one lane has, another's next item is in the next batch.
 * 4. After a failed commit every waiting and every later item is refused with that failure.
 */
export class CommitQueue<Item, Result> {
  readonly #options: CommitQueueOptions<Item, Result>;
  /** No lane is empty. The one that was served longest ago comes first. */
  readonly #lanes = new Map<string, Array<Waiting<Item, Result>>>();
  #running: Promise<void> | undefined;
  #failure: unknown;

  constructor(options: CommitQueueOptions<Item, Result>) {
    this.#options = options;
  }

  /** Whether nothing waits for a commit. */
  get isEmpty(): boolean {
    return this.#lanes.size === 0;
  }

  /** Items of all lanes not yet taken by a commit. */
  get size(): number {
    return [...this.#lanes.values()].reduce((sum, lane) => sum + lane.length, 0);
  }

  /** Items of a lane not yet taken by a commit. */
  length(lane: string): number {
    return this.#lanes.get(lane)?.length ?? 0;
  }

  /** Resolves when the commit that took `item` is done. */
  push(item: Item, lane = ""): Promise<Result> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const result = new Promise<Result>((resolve, reject) => {
      const waiting = this.#lanes.get(lane);
      if (waiting === undefined) this.#lanes.set(lane, [{ item, resolve, reject }]);
      else waiting.push({ item, resolve, reject });
    });
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
    while (!this.isEmpty) {
      const batch = this.#take();
      try {
        const results = await this.#options.commit(batch.map((entry) => entry.item));
        for (const [index, entry] of batch.entries()) {
          const result = results[index];
          if (result === undefined) throw new Error(`commit answered ${results.length} of ${batch.length} items`);
          entry.resolve(result);
        }
      } catch (error) {
        this.#failure = error;
        for (const entry of [...batch, ...[...this.#lanes.values()].flat()]) entry.reject(error);
        this.#lanes.clear();
      }
    }
    this.#running = undefined;
  }

  #take(): ReadonlyArray<Waiting<Item, Result>> {
    const counts = new Map([...this.#lanes.keys()].map((lane) => [lane, 0]));
    let space = this.#options.maxBatch;
    for (let taken = -1; taken !== 0 && space > 0; ) {
      taken = 0;
      for (const [lane, count] of counts) {
        const share = this.#options.shareOf?.(lane) ?? 1;
        const more = Math.min(share, this.length(lane) - count, space);
        counts.set(lane, count + more);
        space -= more;
        taken += more;
      }
    }
    const batch: Array<Waiting<Item, Result>> = [];
    for (const [lane, count] of counts) {
      const waiting = this.#lanes.get(lane) ?? [];
      // Deleted and set again: a map keeps the order of insertion, and the lane that was served goes to its end.
      if (count > 0) this.#lanes.delete(lane);
      batch.push(...waiting.splice(0, count));
      if (waiting.length > 0) this.#lanes.set(lane, waiting);
    }
    return batch;
  }
}
