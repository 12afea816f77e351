type Waiter = { readonly size: number; readonly resolve: () => void };

/** Readers that wait for the log to grow. */
export class Growth {
  readonly #waiters = new Set<Waiter>();

  /** Resolves at the first `reached` with more than `size`, or when `signal` aborts. */
  beyond(size: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = (): void => {
      this.#waiters.delete(waiter);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const waiter = { size, resolve: end };
    this.#waiters.add(waiter);
    signal.addEventListener("abort", end);
    return promise;
  }

  reached(size: number): void {
    for (const waiter of [...this.#waiters]) if (size > waiter.size) waiter.resolve();
  }
}
