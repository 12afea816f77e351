/** What happens around the messages of a stream. */
export interface MessageHooks<T> {
  /** Runs each step; it may race it or run it elsewhere. */
  step?(run: () => Promise<IteratorResult<T>>): Promise<IteratorResult<T>>;
  /** Sees each message before it is passed on; a throw ends the stream. */
  message?(message: T): void | Promise<void>;
  /** Runs exactly once, when the stream ended, failed (`error` is set) or was left early. */
  end?(error: unknown): void | Promise<void>;
  /** Translates a failure. */
  fail?(error: unknown): unknown;
}

/** `messages` with hooks; leaving early and throwing into it keep working. */
export function hookMessages<T>(messages: AsyncIterable<T>, hooks: MessageHooks<T>): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = messages[Symbol.asyncIterator]();
      let ended = false;
      const end = async (error: unknown): Promise<void> => {
        if (ended) return;
        ended = true;
        await hooks.end?.(error);
      };
      const step = async (run: () => Promise<IteratorResult<T>>): Promise<IteratorResult<T>> => {
        try {
          const result = await (hooks.step === undefined ? run() : hooks.step(run));
          if (result.done === true) await end(undefined);
          else await hooks.message?.(result.value);
          return result;
        } catch (caught) {
          const error = hooks.fail === undefined ? caught : hooks.fail(caught);
          await end(error);
          throw error;
        }
      };
      return {
        next: () => step(() => iterator.next()),
        return: (value?: unknown) =>
          step(() => iterator.return?.(value) ?? Promise.resolve({ done: true, value: undefined })),
        throw: (error?: unknown) => step(() => iterator.throw?.(error) ?? Promise.reject(error)),
      };
    },
  };
}

/** Settles as `promise` does, or rejects with the signal's reason as soon as it aborts. */
export async function raceSignal<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  // The loser is not waited for; its late failure is not an unhandled one.
  promise.catch(() => undefined);
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
