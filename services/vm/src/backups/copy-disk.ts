import type { Readable } from "node:stream";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import { requirePhase } from "../lifecycle/sleep-calls.ts";
import type { TenantRecord } from "../store/tenant-record.ts";

const releaseLimitMs = 30_000;

/** Throws TENANT_NOT_FOUND, TENANT_BUSY, or TENANT_NOT_RUNNING for one that is neither running nor suspended. */
export function requireCopyable(tenant: TenantRecord | undefined, name: string): TenantRecord {
  return requirePhase(tenant, name, tenant?.phase === "suspended" ? "suspended" : "running");
}

/**
 * A copy of the tenant's disk as it is at one moment; when this resolves the tenant goes on, and the copy is gone when it was read or destroyed. To be
 * called in the tenant's turn. Throws SUSPEND_REFUSED and what a part failed with; the tenant then goes on as well.
 */
export async function copyDisk(life: Lifecycle, tenant: TenantRecord, evicted: AbortSignal): Promise<Readable> {
  const { journal, parts } = life;
  const { vmId } = tenant;
  if (tenant.phase === "suspended") return await journal.watch(tenant, "copy-disk", () => parts.vmm.readDisk(vmId));
  let copy: Readable | undefined;
  journal.beginBackup(tenant);
  try {
    await journal.step(tenant, "quiesce-disk", () => parts.guests.quiesceDisk(tenant, evicted));
    await journal.step(tenant, "pause-guest", () => parts.vmm.pause(vmId));
    return await journal.step(tenant, "copy-disk", async () => {
      copy = await parts.vmm.readDisk(vmId);
      return copy;
    });
  } catch (error) {
    copy?.destroy();
    evicted.throwIfAborted();
    throw error;
  } finally {
    await releaseGuest(life, tenant, evicted);
  }
}

/**
 * Lets a guest go on that stood still for a copy, and ends that operation. Does not throw: what cannot be done now is in the log, and the reconciler comes
 * again while the operation is open. With `isLast` it ends too when the guest does not hear of it: nobody else looks at a guest while it is open.
 */
export async function releaseGuest(
  life: Lifecycle,
  tenant: TenantRecord,
  evicted: AbortSignal,
  isLast = false,
): Promise<void> {
  const { journal, logger } = life;
  try {
    await journal.step(tenant, "release-guest", () => letGoOn(life, tenant, evicted, isLast));
    journal.endBackup(tenant);
  } catch (error) {
    logger.warn({ err: error, tenant: tenant.name, vmId: tenant.vmId }, "a guest may stand still after a backup");
  }
}

async function letGoOn(
  { parts, logger }: Lifecycle,
  tenant: TenantRecord,
  evicted: AbortSignal,
  isLast: boolean,
): Promise<void> {
  try {
    await parts.vmm.unpause(tenant.vmId);
  } catch (error) {
    if (reasonOf(error) === "NOT_FOUND") return; // its VMM ended, which the reconciler sees
    throw error;
  }
  const limit = AbortSignal.any([evicted, AbortSignal.timeout(releaseLimitMs)]);
  try {
    await parts.guests.releaseDisk(tenant, limit);
  } catch (error) {
    // Its clock is behind and its workload still agrees to sleep: it runs, and is no use.
    if (!isLast) throw error;
    logger.warn({ err: error, vmId: tenant.vmId }, "a guest was not told to go on");
  }
}
