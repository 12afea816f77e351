import { LauncherError } from "./protocol.ts";

/**
 * One VM boots at a time: from its first API channel, without which no guest can be started, until its timer thread is placed. What the
 * kernel calls such a thread does not tell two VMs apart, so there must be one VM only to which a new thread can belong.
 */
export interface BootTurn {
  /** Waits for the turn and returns true; false at once when the VM has it already. Throws when the VM ended while it waited. */
  take(vmId: string): Promise<boolean>;
  /** Ends the VM's turn, or its wait. Safe to repeat. */
  end(vmId: string): void;
}

/** A VM that has the turn for longer than `limitMs` is ended by `kill`, and its turn with it. */
export function openBootTurn(limitMs: number, kill: (vmId: string) => Promise<void>): BootTurn {
  let holder: { readonly vmId: string; readonly timer: NodeJS.Timeout } | undefined;
  const waiting = new Map<string, { readonly wake: () => void; readonly giveUp: (error: Error) => void }>();
  const give = (vmId: string) => {
    const overdue = () => void kill(vmId).finally(() => turn.end(vmId));
    holder = { vmId, timer: setTimeout(overdue, limitMs).unref() };
  };
  const turn: BootTurn = {
    async take(vmId) {
      if (holder?.vmId === vmId) return false;
      if (holder === undefined) give(vmId);
      else {
        waiting.get(vmId)?.giveUp(new LauncherError("CHANNEL_BUSY", "somebody else waits for it now"));
        waiting.delete(vmId);
        await new Promise<void>((wake, giveUp) => void waiting.set(vmId, { wake, giveUp }));
      }
      return true;
    },
    end(vmId) {
      waiting.get(vmId)?.giveUp(new LauncherError("NOT_FOUND", "the VM ended"));
      waiting.delete(vmId);
      if (holder?.vmId !== vmId) return;
      clearTimeout(holder.timer);
      holder = undefined;
      const [next] = waiting;
      if (next === undefined) return;
      waiting.delete(next[0]);
      give(next[0]);
      next[1].wake();
    },
  };
  return turn;
}
