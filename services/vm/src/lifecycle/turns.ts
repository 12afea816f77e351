/** Work on what a microVM has, one piece at a time for each, in the order it came. */
export interface Turns {
  /** Runs `work` when its turn comes, unless the microVM is cleared before; its signal aborts when that happens meanwhile. */
  take<T>(vmId: string, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Whether work is under way or waits. */
  isBusy(vmId: string): boolean;
  /** Ends all work of a microVM, with `reason`, and resolves when none is under way. */
  clear(vmId: string, reason: Error): Promise<void>;
}

interface Line {
  readonly cancel: AbortController;
  tail: Promise<unknown>;
  length: number;
}

/** A microVM costs nothing while it has no work. */
export function createTurns(): Turns {
  const lines = new Map<string, Line>();
  return {
    take: async (vmId, work) => {
      const line = lines.get(vmId) ?? { cancel: new AbortController(), tail: Promise.resolve(), length: 0 };
      lines.set(vmId, line);
      const { signal } = line.cancel;
      const turn = line.tail.then(() => {
        signal.throwIfAborted();
        return work(signal);
      });
      line.tail = turn.catch(() => undefined);
      line.length++;
      try {
        return await turn;
      } finally {
        line.length--;
        if (line.length === 0) lines.delete(vmId);
      }
    },
    isBusy: (vmId) => lines.has(vmId),
    clear: async (vmId, reason) => {
      const line = lines.get(vmId);
      line?.cancel.abort(reason);
      await line?.tail;
    },
  };
}
