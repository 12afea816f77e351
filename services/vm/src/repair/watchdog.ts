/**
 * Looks at every tenant that should run, and repairs those that are not well. The rules:
 *
 * 1. A look is cheap: the launcher's list once for all, and one call to each agent, at most eight at once and spread over half of the interval. One slow guest
 *    holds up nobody, and neither does a repair.
 * 2. Whoever has the turn of a tenant is left alone, and what a look found is looked at again in the turn: only `mendTenant` does anything.
 * 3. Repairs come ever later (`pace.ts`). The third in a row that fails, or does not last, makes the tenant FAILED, with what was found as its reason.
 * 4. A FAILED tenant is tried again, slowly, for as long as it is there: it heals when the cause is gone.
 * 5. While the launcher does not answer nothing is known, and nothing is done.
 */
import { setTimeout as delay } from "node:timers/promises";
import { WorkloadState } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { TenantFault } from "./names.ts";
import { afterRepair, givenUp, isSteady, maxAttempts, type Pace, type PaceLimits, rested } from "./pace.ts";
import { mendTenant, type RepairReport } from "./repair.ts";

export interface Watchdog {
  /** Resolves when everybody was looked at. Repairs that it began go on. */
  sweep(): Promise<void>;
  /** Resolves when no repair is under way. */
  settled(): Promise<void>;
}

const concurrentLooks = 8;
/** Boots among them queue for the cores with everybody else's. */
const concurrentRepairs = 8;

export interface WatchdogOptions extends PaceLimits {
  /** Over which the looks of a sweep are spread. */
  readonly spreadMs: number;
}

export function createWatchdog(life: Lifecycle, options: WatchdogOptions): Watchdog {
  const paces = new Map<string, Pace>();
  /** Since when a workload says that it is starting. */
  const starting = new Map<string, number>();
  const repairs = new Map<string, Promise<void>>();

  const paceOf = (vmId: string): Pace => paces.get(vmId) ?? rested;

  function isWatched(tenant: TenantRecord | undefined): tenant is TenantRecord {
    if (tenant === undefined || (tenant.phase !== "running" && tenant.phase !== "failed")) return false;
    return life.journal.find(tenant.vmId) === undefined;
  }

  async function faultOf(tenant: TenantRecord, alive: ReadonlySet<string>): Promise<TenantFault | undefined> {
    const { vmId } = tenant;
    if (!alive.has(vmId)) return "VMM_EXITED";
    const workload = await life.parts.guests.workloadState(tenant, new AbortController().signal);
    if (workload !== WorkloadState.STARTING) starting.delete(vmId);
    switch (workload) {
      case undefined:
        return "AGENT_SILENT";
      case WorkloadState.HEALTHY:
        return undefined;
      case WorkloadState.STARTING:
        return (await isOverdue(tenant)) ? "WORKLOAD_UNHEALTHY" : undefined;
      default:
        return "WORKLOAD_UNHEALTHY";
    }
  }

  /** Its secrets may have changed: then it has as much time as at a boot. */
  async function isOverdue({ vmId, image }: TenantRecord): Promise<boolean> {
    const sinceMs = starting.get(vmId) ?? life.now();
    starting.set(vmId, sinceMs);
    const limitMs = (await life.images.find(image))?.startLimitMs ?? life.config.workloadLimitMs;
    return life.now() - sinceMs > limitMs;
  }

  async function look(tenant: TenantRecord, alive: ReadonlySet<string>): Promise<void> {
    const { vmId } = tenant;
    const fault = tenant.phase === "failed" ? undefined : await faultOf(tenant, alive);
    if (fault === undefined && tenant.phase === "running") {
      if (isSteady(paceOf(vmId), life.now())) paces.delete(vmId);
      return;
    }
    // A host that is drained brings nobody back.
    if (tenant.phase === "failed" && life.drains.find() !== undefined) return;
    if (life.now() < paceOf(vmId).notBeforeMs || repairs.size >= concurrentRepairs || repairs.has(vmId)) return;
    const repair = repairInTurn(vmId, fault)
      .catch((error: unknown) => life.logger.warn({ err: error, vmId }, "a repair did not come to its end"))
      .finally(() => repairs.delete(vmId));
    repairs.set(vmId, repair);
  }

  async function repairInTurn(vmId: string, fault: TenantFault | undefined): Promise<void> {
    await life.turns.take(vmId, async (evicted) => {
      const tenant = life.tenants.findByVm(vmId);
      if (!isWatched(tenant)) return;
      if (tenant.phase === "failed") return await bringBack(tenant, evicted);
      if (fault === undefined) return;
      // The last repairs helped, and did not last.
      if (paceOf(vmId).attempts >= maxAttempts) return giveUp(tenant, fault);
      const report = await mended(tenant, evicted);
      // It was well all the time, or nobody can say whether it is.
      if (report?.steps.length === 0) return;
      const pace = afterRepair(paceOf(vmId), life.now(), options);
      paces.set(vmId, pace);
      const after = life.tenants.findByVm(vmId);
      if (after?.phase === "running" && !isGuestWell(report) && pace.attempts >= maxAttempts) giveUp(after, fault);
    });
  }

  /** Undefined when it could not be ended; an eviction goes on to whoever waits for the turn. */
  async function mended(tenant: TenantRecord, evicted: AbortSignal): Promise<RepairReport | undefined> {
    try {
      return await mendTenant(life, tenant, evicted);
    } catch (error) {
      evicted.throwIfAborted();
      life.logger.warn({ err: error, tenant: tenant.name, vmId: tenant.vmId }, "a tenant could not be repaired");
      return undefined;
    }
  }

  async function bringBack(tenant: TenantRecord, evicted: AbortSignal): Promise<void> {
    await mended(tenant, evicted);
    // Kept when it is running again: one that fails once more before it was steady is not worth three repairs.
    paces.set(tenant.vmId, givenUp(life.now(), options));
  }

  function giveUp(tenant: TenantRecord, fault: TenantFault): void {
    life.tenants.markFailed(tenant.vmId, fault);
    life.events.tenantFailed(tenant, fault);
    paces.set(tenant.vmId, givenUp(life.now(), options));
  }

  return {
    async sweep() {
      const listed = await life.parts.vmm.list().catch((error: unknown) => {
        life.logger.warn({ err: error }, "tenants are not looked at: the launcher does not say which microVMs run");
      });
      if (listed === undefined) return;
      const alive = new Set(listed.filter(({ state }) => state === "running").map(({ vmId }) => vmId));
      const all = life.tenants.all();
      const known = new Set(all.map(({ vmId }) => vmId));
      for (const memory of [paces, starting])
        for (const vmId of memory.keys()) if (!known.has(vmId)) memory.delete(vmId);
      const startMs = performance.now();
      const looks = all
        .filter((tenant) => isWatched(tenant) && !life.turns.isBusy(tenant.vmId))
        // One whose VMM ended is asked nothing, and has nothing to wait for.
        .map((tenant) => ({ tenant, afterMs: alive.has(tenant.vmId) ? Math.random() * options.spreadMs : 0 }))
        .sort((a, b) => a.afterMs - b.afterMs)
        .values();
      const worker = async () => {
        for (const { tenant, afterMs } of looks) {
          const waitMs = startMs + afterMs - performance.now();
          if (waitMs > 0) await delay(waitMs, undefined, { ref: false });
          await look(tenant, alive);
        }
      };
      await Promise.all(Array.from({ length: concurrentLooks }, worker));
    },
    async settled() {
      await Promise.all(repairs.values());
    },
  };
}

function isGuestWell(report: RepairReport | undefined): boolean {
  const guest = report?.after.filter(({ name }) => !name.startsWith("net.") && !name.startsWith("route."));
  return guest?.every(({ passed }) => passed) === true;
}
