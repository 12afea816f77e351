import { ownOutcome } from "@lobsterd/chassis/audit.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import { backupFileName } from "./backup-files.ts";
import type { BackupRecord } from "./backup-store.ts";
import { backupTurn } from "./parts.ts";

/** Forgets a backup, then deletes its file: one that is left in between is nobody's, and the sweep's. */
export async function dropBackup(life: Lifecycle, backup: BackupRecord, requestId: string): Promise<void> {
  const { store, files } = life.backups;
  store.delete(backup, requestId);
  const tenant = life.tenants.findByVm(backup.vmId);
  if (tenant !== undefined) life.events.backupDeleted(tenant, backup);
  await files.delete(backup);
}

/** Deletes what the host's retention gives up, with a record of its own for each. */
export async function dropExpired(life: Lifecycle): Promise<void> {
  const { config, backups } = life;
  const oldestTimeMs = life.now() - config.backupMaxAgeMs;
  for (const backup of backups.store.expired(config.backupKeepCount, oldestTimeMs)) {
    const { name: tenant = "", generation = 0 } = life.tenants.findByVm(backup.vmId) ?? {};
    await dropBackup(life, backup, "");
    const told = { action: "DeleteBackup", outcome: "success", reason: "RETENTION" } as const;
    life.record(ownOutcome({ ...told, tenant, generation, resource: backup.backupId }));
  }
  backups.store.forgetDeleted(oldestTimeMs);
}

/** What the reconciler does for backups: retention by age, and files that are no backup and are not becoming one. */
export async function tidyBackups(life: Lifecycle): Promise<void> {
  await dropExpired(life);
  const { store, files } = life.backups;
  await files.sweep(({ vmId, name }) => {
    if (life.turns.isBusy(backupTurn(vmId))) return true;
    return store.all().some((backup) => backupFileName(backup) === name);
  });
}
