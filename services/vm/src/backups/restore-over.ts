/**
 * Restores a tenant in its own place. The order of journal rule 8: the disk is written beside the tenant's own, whole; then the tenant's memory is given up and the restore
 * becomes a replacement, in one transaction; then the disks are swapped and the tenant boots.
 */
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { fail } from "../errors.ts";
import type { OpenOperation } from "../lifecycle/journal.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import { recordSeal } from "../lifecycle/rollback.ts";
import { limited, requirePhase } from "../lifecycle/sleep-calls.ts";
import { settleSuspended } from "../lifecycle/suspend.ts";
import { bootAnew } from "../lifecycle/wake.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { BackupRecord } from "./backup-store.ts";
import { mib } from "./header.ts";
import { writeBackup } from "./open-backup.ts";
import { backupTurn } from "./parts.ts";
import { holdRoom } from "./room.ts";

/**
 * Returns the running tenant. Throws TENANT_BUSY, TENANT_NOT_SUSPENDED for one that runs, HOST_POSTURE, HOST_FULL, BACKUP_QUEUE_FULL, and as `writeBackup`, after which the
 * tenant is as it was; RESTORE_INCOMPLETE and as a resume that boots its disk, after which the backup is its disk.
 */
export async function restoreOver(
  life: Lifecycle,
  { requestId, name, backup }: { readonly requestId: string; readonly name: string; readonly backup: BackupRecord },
): Promise<TenantRecord> {
  const { vmId, resources } = requireStopped(life.tenants.find(name), name);
  if (resources.diskMib !== backup.diskMib) throw fail("BACKUP_BROKEN", "the backup has another size than the disk");
  await life.posture.admitSpawn();
  return await life.turns.take(backupTurn(vmId), async (backupEvicted) => {
    using _place = await life.backups.queue.enter(backupEvicted);
    return await life.turns.take(vmId, async (evicted) => {
      const stopped = requireStopped(life.tenants.findByVm(vmId), name);
      using _room = await holdRoom(life, { diskMib: backup.diskMib, sealedMib: 0 });
      evicted.throwIfAborted();
      const restoring = life.journal.beginRestore(stopped, requestId);
      await writeOrGoBack(life, restoring, backup, evicted);
      const given = life.sealedStates.find(vmId);
      life.journal.beginReplace(restoring, () => {
        if (given !== undefined) recordSeal(life, "ConsumeState", restoring, given);
      });
      const restored = await replaceAndBoot(life, restoring, evicted);
      life.events.backupRestored(restored, backup);
      return restored;
    });
  });
}

function requireStopped(tenant: TenantRecord | undefined, name: string): TenantRecord {
  return tenant?.phase === "failed" ? tenant : requirePhase(tenant, name, "suspended");
}

async function writeOrGoBack(
  life: Lifecycle,
  tenant: TenantRecord,
  backup: BackupRecord,
  evicted: AbortSignal,
): Promise<void> {
  const { backupLimitMs } = life.config;
  const overdue = fail("BACKUP_LIMIT_EXCEEDED", `the restore took longer than ${backupLimitMs} ms`);
  const signal = limited(evicted, backupLimitMs, overdue);
  using work = life.backups.work.begin([tenant.vmId], "restore", backup.diskMib * mib);
  try {
    const target = { vmId: tenant.vmId, signal, work };
    await life.journal.step(tenant, "write-disk", () => writeBackup(life, backup, target));
    signal.throwIfAborted();
  } catch (error) {
    evicted.throwIfAborted();
    life.events.restoreFailed(tenant, error);
    // What fails here is in the log, and the reconciler goes on with it; the caller is told why nothing was restored.
    await goBack(life, tenant, evicted).catch((cause: unknown) =>
      life.logger.warn({ err: cause, vmId: tenant.vmId }, "a tenant is not as it was before a restore yet"),
    );
    throw error;
  }
}

/** The tenant is suspended or failed, as before; the microVM's stop drops the disk that was written for it. */
async function goBack(life: Lifecycle, tenant: TenantRecord, evicted: AbortSignal): Promise<void> {
  if (life.sealedStates.find(tenant.vmId) !== undefined) return void (await settleSuspended(life, tenant, evicted));
  await life.parts.vmm.stop(tenant.vmId);
  evicted.throwIfAborted();
  life.journal.endFailed(tenant, tenant.failureReason);
}

async function replaceAndBoot(life: Lifecycle, tenant: TenantRecord, evicted: AbortSignal): Promise<TenantRecord> {
  const { vmId, name } = tenant;
  try {
    await life.journal.step(tenant, "replace-disk", () => life.parts.vmm.replaceDisk(vmId));
    await life.files.remove(vmId);
  } catch (cause) {
    evicted.throwIfAborted();
    const message = `the disk of tenant ${name} is written and not in its place yet; it goes on`;
    throw fail("RESTORE_INCOMPLETE", message, { metadata: { tenant: name }, cause });
  }
  using _place = await inSpan("boot-queue", {}, () => life.bootQueue.enter(evicted));
  evicted.throwIfAborted();
  return await bootAnew(life, tenant, evicted);
}

/** Brings a restore to its end that nobody waits for any more, as journal rule 8 says. What fails is logged and comes again. */
export async function settleRestore(life: Lifecycle, { tenant: { name, vmId } }: OpenOperation): Promise<void> {
  await life.turns.take(vmId, async (evicted) => {
    const operation = life.journal.find(vmId);
    if (operation?.kind !== "restore" && operation?.kind !== "replace") return;
    const settle = operation.kind === "restore" ? goBack : replaceAndBoot;
    await inSpan("settle-restore", { "lobsterd.tenant": name, "lobsterd.vm_id": vmId }, async () => {
      await settle(life, operation.tenant, evicted);
    });
  });
}
