import { requestIdReused } from "@lobsterd/chassis/idempotency.ts";
import { fail } from "../errors.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import type { TenantOperations } from "../lifecycle/operations.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { BackupRecord } from "./backup-store.ts";
import { createBackup } from "./create-backup.ts";
import { type ImportOrder, importBackup } from "./import-backup.ts";
import { restoreNew } from "./restore-new.ts";
import { restoreOver } from "./restore-over.ts";
import { dropBackup } from "./retention.ts";
import type { BackupWork } from "./work.ts";

/** What can be done with backups. What changes a tenant runs to its end whether or not its caller waits. */
export interface BackupOperations {
  /** See `create-backup.ts`. */
  create(requestId: string, name: string): Promise<BackupRecord>;
  /** Those of lower sequence than `before`, the newest first, and what is under way. Throws TENANT_NOT_FOUND. */
  list(name: string, before: number, limit: number): { backups: readonly BackupRecord[]; work: readonly BackupWork[] };
  /** The running tenant, new or in the place of the backup's own; see `restore-new.ts`, `restore-over.ts`. Throws BACKUP_NOT_FOUND, TENANT_EXISTS. */
  restore(requestId: string, name: string, backupId: string): Promise<TenantRecord>;
  /** Throws TENANT_NOT_FOUND, BACKUP_NOT_FOUND. */
  delete(requestId: string, name: string, backupId: string): Promise<void>;
  /** A backup of the tenant and where its file is. Throws TENANT_NOT_FOUND, BACKUP_NOT_FOUND. */
  find(name: string, backupId: string): { readonly backup: BackupRecord; readonly path: string };
  /** See `import-backup.ts`. */
  import(order: ImportOrder, pieces: AsyncIterator<Uint8Array>, signal: AbortSignal): Promise<BackupRecord>;
}

export function createBackupOperations(life: Lifecycle, spawn: TenantOperations["spawn"]): BackupOperations {
  const { store, files, work } = life.backups;

  function requireTenant(name: string): TenantRecord {
    const tenant = life.tenants.find(name);
    if (tenant !== undefined) return tenant;
    throw fail("TENANT_NOT_FOUND", `there is no tenant ${name}`, { metadata: { tenant: name } });
  }

  function requireBackup(tenant: TenantRecord, backupId: string): BackupRecord {
    const backup = store.find(backupId);
    if (backup?.vmId === tenant.vmId) return backup;
    throw notFound(backupId);
  }

  return {
    async create(requestId, name) {
      const backup = await createBackup(life, requestId, name);
      if (life.tenants.findByVm(backup.vmId)?.name !== name) throw requestIdReused(requestId);
      return backup;
    },
    list: (name, before, limit) => {
      const { vmId } = requireTenant(name);
      return { backups: store.page(vmId, before, limit), work: work.of(vmId) };
    },
    async restore(requestId, name, backupId) {
      const known = life.tenants.find(name);
      const isDone = known?.requestId === requestId || known?.sleepRequestId === requestId;
      if (known?.phase === "running" && isDone) return known;
      const backup = store.find(backupId);
      if (backup === undefined) throw notFound(backupId);
      const order = { requestId, name, backup };
      if (known === undefined) return await restoreNew(life, spawn, order);
      if (known.vmId === backup.vmId) return await restoreOver(life, order);
      throw fail("TENANT_EXISTS", `tenant ${name} exists, and the backup is of another one`, {
        metadata: { tenant: name },
      });
    },
    async delete(requestId, name, backupId) {
      const tenant = requireTenant(name);
      if (store.isDeletedBy(tenant.vmId, backupId, requestId)) return;
      await dropBackup(life, requireBackup(tenant, backupId), requestId);
    },
    find: (name, backupId) => {
      const backup = requireBackup(requireTenant(name), backupId);
      return { backup, path: files.path(backup) };
    },
    import: (order, pieces, signal) => importBackup(life, order, pieces, signal),
  };
}

function notFound(backupId: string) {
  return fail("BACKUP_NOT_FOUND", `there is no backup ${backupId}`, { metadata: { backup_id: backupId } });
}
