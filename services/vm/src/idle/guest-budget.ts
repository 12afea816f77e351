/** For how long of the last hour each guest was awake by its own word alone. In memory: a restart of `vm` gives each its whole budget. */
export interface GuestBudget {
  /** Counts `spentMs` that end now. */
  spend(vmId: string, spentMs: number): void;
  isLeft(vmId: string): boolean;
  forget(vmId: string): void;
}

const hourMs = 3_600_000;
const bucketMs = 60_000;

/** `now` is a clock that is never set. Minutes are counted as one, so a guest has its budget back at most a minute late. */
export function createGuestBudget(budgetMs: number, now: () => number): GuestBudget {
  const spent = new Map<string, Map<number, number>>();
  return {
    spend: (vmId, spentMs) => {
      const minutes = spent.get(vmId) ?? new Map<number, number>();
      spent.set(vmId, minutes);
      const minute = Math.floor(now() / bucketMs);
      minutes.set(minute, (minutes.get(minute) ?? 0) + spentMs);
      for (const old of minutes.keys()) if (old < minute - hourMs / bucketMs) minutes.delete(old);
    },
    isLeft: (vmId) => {
      const first = Math.floor((now() - hourMs) / bucketMs);
      let sum = 0;
      for (const [minute, ms] of spent.get(vmId) ?? []) if (minute >= first) sum += ms;
      return sum < budgetMs;
    },
    forget: (vmId) => void spent.delete(vmId),
  };
}
