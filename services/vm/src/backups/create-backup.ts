/**
 * Makes a backup: a copy of the disk in the tenant's turn, then sealed into a file, durable, and only then listed. What fails or dies before that leaves a
 * tenant that goes on and a file that is nobody's.
 */
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { release } from "@lobsterd/chassis/release.ts";
import { fail } from "../errors.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import { describeMachine } from "../lifecycle/machine-facts.ts";
import { limited } from "../lifecycle/sleep-calls.ts";
import { sealSet } from "../sealing/seal-set.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import { arriving } from "../vmm/state-flow.ts";
import type { BackupRecord } from "./backup-store.ts";
import { copyDisk, requireCopyable } from "./copy-disk.ts";
import { createBackupKey, type DataKey } from "./data-key.ts";
import { backupIdOf, diskPart, mib } from "./header.ts";
import { backupTurn } from "./parts.ts";
import { dropExpired } from "./retention.ts";
import { holdRoom, sealedMibOf } from "./room.ts";
import type { WorkUnderWay } from "./work.ts";

/**
 * Returns the backup. Throws TENANT_NOT_FOUND, TENANT_BUSY, TENANT_NOT_RUNNING, HOST_FULL, BACKUP_QUEUE_FULL, SUSPEND_REFUSED by the workload,
 * BACKUP_LIMIT_EXCEEDED, or what a part failed with. The tenant goes on in each case.
 */
export async function createBackup(life: Lifecycle, requestId: string, name: string): Promise<BackupRecord> {
  const { backups, config } = life;
  const made = backups.store.findByRequest(requestId);
  if (made !== undefined) return made;
  const { vmId, resources } = requireCopyable(life.tenants.find(name), name);
  const { diskMib } = resources;
  return await life.turns.take(backupTurn(vmId), async (evicted) => {
    const overdue = fail("BACKUP_LIMIT_EXCEEDED", `the backup took longer than ${config.backupLimitMs} ms`);
    const signal = limited(evicted, config.backupLimitMs, overdue);
    using _place = await backups.queue.enter(signal);
    const sealedMib = sealedMibOf(diskMib);
    using _room = await holdRoom(life, { diskMib: diskMib + sealedMib, sealedMib });
    using work = backups.work.begin([vmId], "create", diskMib * mib);
    const made = await copyInTurn(life, vmId, name);
    try {
      const backup = await sealCopy(life, made, { requestId, signal, work });
      life.events.backupCreated(made.tenant, backup);
      await dropExpired(life);
      return backup;
    } catch (error) {
      evicted.throwIfAborted();
      life.events.backupFailed(made.tenant, error);
      throw error;
    } finally {
      made.dataKey.plaintext.fill(0);
      made.disk.destroy();
    }
  });
}

interface DiskCopy {
  /** With the counter of the set that is about to be made. */
  readonly tenant: TenantRecord;
  readonly dataKey: DataKey;
  readonly disk: Readable;
}

/** Audit, root key and launcher are asked before anything is done to the guest: without them nothing has changed. */
async function copyInTurn(life: Lifecycle, vmId: string, name: string): Promise<DiskCopy> {
  return await life.turns.take(vmId, async (evicted) => {
    requireCopyable(life.tenants.findByVm(vmId), name);
    const tenant = life.tenants.countSeal(vmId);
    const dataKey = await createBackupKey(life, tenant, evicted);
    try {
      return { tenant, dataKey, disk: await copyDisk(life, tenant, evicted) };
    } catch (error) {
      dataKey.plaintext.fill(0);
      life.events.backupFailed(tenant, error);
      throw error;
    }
  });
}

async function sealCopy(
  life: Lifecycle,
  { tenant, dataKey, disk }: DiskCopy,
  { requestId, signal, work }: { requestId: string; signal: AbortSignal; work: WorkUnderWay },
): Promise<BackupRecord> {
  const { backups, journal } = life;
  const { name, vmId, generation, sealCounter: counter, resources } = tenant;
  const [createTimeMs, path] = [life.now(), backups.files.path({ vmId, counter })];
  const machine = await describeMachine(life, tenant);
  const header = await journal.watch(tenant, "seal-disk", () =>
    sealSet({
      path,
      header: {
        ...{ format: 1, kind: "backup", tenant: name, vmId, generation, counter, createTimeMs, machine },
        ...{ keyId: dataKey.keyId, wrappedKey: Buffer.from(dataKey.wrapped).toString("base64") },
      },
      dataKey: dataKey.plaintext,
      parts: [{ name: diskPart, plainBytes: resources.diskMib * mib, read: () => counted(disk, signal, work) }],
      // Cipher text does not get smaller.
      compression: tenant.wrappedDiskKey === undefined ? "zstd" : "zeros",
    }),
  );
  const { size: sizeBytes } = await stat(path);
  return await journal.watch(tenant, "list-backup", async () => {
    signal.throwIfAborted();
    return backups.store.insert({
      ...{ backupId: backupIdOf(header), vmId, requestId, counter, generation, diskMib: resources.diskMib },
      ...{ sizeBytes, createTimeMs, addTimeMs: life.now() },
    });
  });
}

async function* counted(disk: Readable, signal: AbortSignal, work: WorkUnderWay): AsyncGenerator<Uint8Array> {
  for await (const piece of arriving(disk)) {
    signal.throwIfAborted();
    work.add(piece.length);
    yield piece;
    release(piece);
  }
}
