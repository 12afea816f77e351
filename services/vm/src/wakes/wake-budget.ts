/**
 * What stands between an unauthenticated request and a resume. Of one tenant: so many wakes in an hour, and a time that it runs after each. Of
 * the host: so many wakes at once, and so many that wait. The hour is counted from rows, so a restart forgives nothing.
 */
import type { Config } from "../config.ts";
import { fail } from "../errors.ts";
import { createBootQueue } from "../lifecycle/boot-queue.ts";
import type { WakeStore } from "./wake-store.ts";

const hourMs = 3_600_000;
/** By then a place has been free again, or the host is not able to. */
const hostRetryS = 5;
/** Longer than `proxy` holds a request: nobody waits for it any more. */
const queueLimitMs = 60_000;

type BudgetConfig = Pick<Config, "concurrentWakes" | "maxQueuedWakes" | "wakesPerHour" | "minimumRunMs">;

export interface WakeBudget {
  /** Waits for a place among the wakes of the host and counts one wake of the tenant. Throws WAKE_TENANT_BUDGET or WAKE_HOST_BUDGET. */
  enter(name: string, vmId: string): Promise<Disposable>;
}

export function createWakeBudget(store: WakeStore, config: BudgetConfig, now: () => number): WakeBudget {
  const places = createBootQueue(config.concurrentWakes, config.maxQueuedWakes);

  function requireTenantBudget(name: string, vmId: string): void {
    // Rows of a time to come are of a clock that was set back: they must not lock a tenant out.
    const recent = store.beginsBetween(vmId, now() - hourMs, now());
    const oldest = recent.at(-config.wakesPerHour);
    if (oldest === undefined) return;
    const retryAfterS = Math.max(1, Math.ceil((oldest + hourMs - now()) / 1000));
    throw fail("WAKE_TENANT_BUDGET", `tenant ${name} was woken ${recent.length} times in an hour`, {
      metadata: { tenant: name, retry_after_s: String(retryAfterS) },
    });
  }

  async function takePlace(): Promise<Disposable> {
    try {
      return await places.enter(AbortSignal.timeout(queueLimitMs));
    } catch (cause) {
      throw fail("WAKE_HOST_BUDGET", "as many tenants as this host takes are being woken", {
        metadata: { retry_after_s: String(hostRetryS) },
        cause,
      });
    }
  }

  return {
    enter: async (name, vmId) => {
      requireTenantBudget(name, vmId);
      const place = await takePlace();
      try {
        store.begin(vmId, now(), now() - hourMs);
      } catch (error) {
        place[Symbol.dispose](); // the tenant was evicted meanwhile
        throw error;
      }
      return place;
    },
  };
}

/**
 * Whether a tenant has run for long enough since it was last woken to be suspended for being idle. A wake that is under way, or did not end, counts
 * from its begin. For the idle detector alone: an operator's suspend does not wait.
 */
export function hasRunEnough(
  store: Pick<WakeStore, "last">,
  { minimumRunMs }: Pick<Config, "minimumRunMs">,
  vmId: string,
  nowMs: number,
): boolean {
  const wake = store.last(vmId);
  if (wake === undefined) return true;
  const ranMs = nowMs - (wake.endTimeMs ?? wake.beginTimeMs);
  // Less than nothing: the clock was set back.
  return ranMs < 0 || ranMs >= minimumRunMs;
}
