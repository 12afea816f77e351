/**
 * Resumes suspended tenants when their time has come. Invariants:
 *
 * 1. When that is stands in the tenant's row until it runs again, so neither a restart nor an outage loses a wake, and each is done once.
 * 2. No timer is longer than a second: the rows are compared with the clock, however far ahead they are and however the clock jumps.
 * 3. A wake that fails is tried again later and later, and holds up no other.
 */
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { retryPauseMs } from "../lifecycle/retry-pause.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { TenantStore } from "../store/tenants.ts";

/** Resumes a tenant; rejects when it was not, for whatever reason. */
export type WakeTenant = (tenant: TenantRecord, cause: "schedule") => Promise<void>;

export interface WakerParts {
  readonly tenants: Pick<TenantStore, "dueWakes">;
  readonly wakeTenant: WakeTenant;
  /** Wakes at a time. */
  readonly concurrentWakes: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds of a clock that is never set. */
  readonly steadyNow: () => number;
  readonly logger: Logger;
}

export interface Waker {
  /** Begins what is due, without waiting for it. */
  wakeDue(): void;
}

export function createWaker(parts: WakerParts): Waker {
  const { tenants, now, steadyNow, logger } = parts;
  const waking = new Set<string>();
  const failed = new Map<string, { readonly failures: number; readonly notBeforeMs: number }>();

  async function wake(tenant: TenantRecord): Promise<void> {
    const { name, vmId } = tenant;
    waking.add(vmId);
    try {
      await parts.wakeTenant(tenant, "schedule");
      failed.delete(vmId);
    } catch (error) {
      const failures = (failed.get(vmId)?.failures ?? 0) + 1;
      const pauseMs = retryPauseMs(failures);
      failed.set(vmId, { failures, notBeforeMs: steadyNow() + pauseMs });
      logger.warn({ err: error, tenant: name, vmId, pauseMs }, "a tenant could not be woken for its schedule");
    } finally {
      waking.delete(vmId);
    }
  }

  return {
    wakeDue: () => {
      const due = tenants.dueWakes(now());
      const present = new Set(due.map(({ vmId }) => vmId));
      for (const vmId of failed.keys()) if (!present.has(vmId) && !waking.has(vmId)) failed.delete(vmId);
      for (const tenant of due) {
        if (waking.size >= parts.concurrentWakes) return;
        if (waking.has(tenant.vmId) || steadyNow() < (failed.get(tenant.vmId)?.notBeforeMs ?? 0)) continue;
        void wake(tenant);
      }
    },
  };
}
