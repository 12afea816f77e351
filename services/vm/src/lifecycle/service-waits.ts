/**
 * For how long tenants have waited for a service that is away, by a steady clock and since this process met it: the time in which `vm` itself was down,
 * and a clock that is set, are nobody's wait.
 */
export interface ServiceWaits {
  /** Begins a wait, or says whether the one that there is has lasted longer than `limitMs`. */
  isOver(vmId: string, limitMs: number): boolean;
  /** Forgets the wait. Safe to repeat. */
  end(vmId: string): void;
}

export function createServiceWaits(steadyNow: () => number): ServiceWaits {
  const begun = new Map<string, number>();
  return {
    isOver: (vmId, limitMs) => {
      const beginMs = begun.get(vmId) ?? steadyNow();
      begun.set(vmId, beginMs);
      return steadyNow() - beginMs > limitMs;
    },
    end: (vmId) => void begun.delete(vmId),
  };
}
