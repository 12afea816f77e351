import { fail } from "../errors.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import type { TenantOperations } from "../lifecycle/operations.ts";
import { limited } from "../lifecycle/sleep-calls.ts";
import type { DiskFill } from "../lifecycle/spawn.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { BackupRecord } from "./backup-store.ts";
import { changeDiskKey } from "./change-disk-key.ts";
import { keyGone, unwrapSourceDiskKey } from "./data-key.ts";
import { mib } from "./header.ts";
import { writeBackup } from "./open-backup.ts";
import { backupTurn } from "./parts.ts";

/**
 * Spawns a tenant whose disk is that of a backup. Sizes, image, labels, policy and limits are those that the backup's tenant has now; ids, keys, identity and names are
 * its own. Throws as a spawn does, and as `writeBackup`.
 */
export async function restoreNew(
  life: Lifecycle,
  spawn: TenantOperations["spawn"],
  { requestId, name, backup }: { readonly requestId: string; readonly name: string; readonly backup: BackupRecord },
): Promise<TenantRecord> {
  const source = requireSource(life, backup);
  const { image, labels, egress, networkLimits, idlePolicy, owner } = source;
  const resources = { ...source.resources, diskMib: backup.diskMib };
  const wish = {
    requestId,
    name,
    image,
    labels,
    egress,
    networkLimits,
    idlePolicy,
    owner,
    resources,
    extraHostNames: [],
  };
  const restored = await spawn(wish, fillFrom(life, backup));
  life.events.backupRestored(restored, backup);
  return restored;
}

function requireSource({ tenants }: Lifecycle, { vmId }: BackupRecord): TenantRecord {
  const source = tenants.findByVm(vmId);
  if (source === undefined || source.phase === "evicting") throw keyGone(source?.name ?? vmId);
  return source;
}

/** In the source's turn, so that its eviction ends the filling; the boot after that needs the source no more. What is written is under the new tenant's own key. */
function fillFrom(life: Lifecycle, backup: BackupRecord): DiskFill {
  const { backupLimitMs } = life.config;
  const overdue = fail("BACKUP_LIMIT_EXCEEDED", `the restore took longer than ${backupLimitMs} ms`);
  return (tenant, diskKey, spawning) =>
    life.turns.take(backupTurn(backup.vmId), async (evicted) => {
      const signal = limited(AbortSignal.any([evicted, spawning]), backupLimitMs, overdue);
      using _place = await life.backups.queue.enter(signal);
      using work = life.backups.work.begin([backup.vmId, tenant.vmId], "restore", backup.diskMib * mib);
      const { journal, parts } = life;
      const { vmId } = tenant;
      const sourceKey = await unwrapSourceDiskKey(life, requireSource(life, backup), signal);
      try {
        const target = { vmId, signal, work, change: changeDiskKey(sourceKey, diskKey) };
        await journal.step(tenant, "write-disk", () => writeBackup(life, backup, target));
      } finally {
        sourceKey?.fill(0);
      }
      await journal.step(tenant, "replace-disk", () => parts.vmm.replaceDisk(vmId));
    });
}
