import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";
import {
  type Backup,
  BackupSchema,
  BackupWorkKind,
  type CreateBackupRequest,
  type DeleteBackupRequest,
  type ExportBackupRequest,
  type ImportBackupRequest,
  type ListBackupsRequest,
  type RestoreBackupRequest,
  type Tenant,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { fakeTenant } from "./fake-tenant.ts";

const fail = defineErrors("fake.lobsterd", { BACKUP_NOT_FOUND: Code.NotFound, BACKUP_BROKEN: Code.DataLoss });

/** Tenants and their backups: a restore makes a tenant anew. */
export interface FakeBackups {
  readonly tenants: Map<string, Tenant>;
  readonly backups: Map<string, Backup>;
}

/** A backup's file is ten times its id. */
const contentOf = ({ backupId }: Backup) => Buffer.from(backupId.repeat(10));

/** `find` throws where there is no such tenant. */
export function backupHandlers(state: FakeBackups, find: (name: string) => Tenant) {
  const findBackup = (backupId: string) => {
    const backup = state.backups.get(backupId);
    if (backup === undefined) throw fail("BACKUP_NOT_FOUND", `there is no backup ${backupId}`);
    return backup;
  };
  return {
    createBackup({ name }: CreateBackupRequest) {
      const tenant = find(name).name;
      const backupId = createHash("sha256").update(`${state.backups.size}`).digest("hex").slice(0, 32);
      const facts = { backupId, tenant, generation: 1, diskMib: 64, sizeBytes: 320n };
      const backup = create(BackupSchema, { ...facts, createTime: timestampFromMs(1_700_000_000_000) });
      state.backups.set(backupId, backup);
      return { backup };
    },
    listBackups: ({ name }: ListBackupsRequest) => ({
      backups: [...state.backups.values()].filter(({ tenant }) => tenant === find(name).name).reverse(),
      work: [{ kind: BackupWorkKind.CREATE, doneBytes: 1_048_576n, totalBytes: 67_108_864n }],
    }),
    restoreBackup({ name, backupId }: RestoreBackupRequest) {
      findBackup(backupId);
      const tenant = fakeTenant(name);
      state.tenants.set(name, tenant);
      return { tenant };
    },
    deleteBackup({ backupId }: DeleteBackupRequest) {
      findBackup(backupId);
      state.backups.delete(backupId);
      return {};
    },
    async *exportBackup({ backupId }: ExportBackupRequest) {
      const backup = findBackup(backupId);
      yield { message: { case: "backup" as const, value: backup } };
      for (let at = 0; at < 320; at += 100)
        yield { message: { case: "content" as const, value: contentOf(backup).subarray(at, at + 100) } };
    },
    async importBackup(requests: AsyncIterable<ImportBackupRequest>) {
      const content: Uint8Array[] = [];
      for await (const { message } of requests) if (message.case === "content") content.push(message.value);
      const backup = findBackup(Buffer.concat(content).toString().slice(0, 32));
      if (!Buffer.concat(content).equals(contentOf(backup))) throw fail("BACKUP_BROKEN", "the file is not whole");
      return { backup };
    },
  };
}
