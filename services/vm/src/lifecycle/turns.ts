import { AsyncLocalStorage } from "node:async_hooks";

/** Work on what a microVM has, one piece at a time for each, in the order it came. */
export interface Turns {
  /**
   * Runs `work` when its turn comes, unless the microVM is cleared before; its signal aborts when that happens meanwhile. Work that is begun in
   * a turn of the same microVM is a part of that turn and does not wait for it.
   */
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

interface Turn {
  readonly vmId: string;
  readonly signal: AbortSignal;
  /** What a turn began and did not wait for is no part of it any more. */
  isOver: boolean;
}

/** A microVM costs nothing while it has no work. */
export function createTurns(): Turns {
  const lines = new Map<string, Line>();
  const current = new AsyncLocalStorage<Turn>();

  async function runTurn<T>(turn: Turn, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    try {
      return await current.run(turn, () => work(turn.signal));
    } finally {
      turn.isOver = true;
    }
  }

  return {
    take: async (vmId, work) => {
      const outer = current.getStore();
      if (outer?.vmId === vmId && !outer.isOver) {
        outer.signal.throwIfAborted();
        return await work(outer.signal);
      }
      const line = lines.get(vmId) ?? { cancel: new AbortController(), tail: Promise.resolve(), length: 0 };
      lines.set(vmId, line);
      const { signal } = line.cancel;
      const turn = line.tail.then(() => {
        signal.throwIfAborted();
        return runTurn({ vmId, signal, isOver: false }, work);
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
