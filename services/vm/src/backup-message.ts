import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type Backup,
  BackupSchema,
  BackupWorkKind,
  type BackupWork as BackupWorkMessage,
  BackupWorkSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { BackupRecord } from "./backups/backup-store.ts";
import type { BackupWork } from "./backups/work.ts";

/** A backup of `tenant` as callers see it. */
export function toBackupMessage(backup: BackupRecord, tenant: string): Backup {
  const { backupId, generation, sizeBytes, createTimeMs, diskMib } = backup;
  return create(BackupSchema, {
    ...{ backupId, tenant, generation, diskMib, sizeBytes: BigInt(sizeBytes) },
    createTime: timestampFromMs(createTimeMs),
  });
}

const kinds = {
  create: BackupWorkKind.CREATE,
  restore: BackupWorkKind.RESTORE,
  import: BackupWorkKind.IMPORT,
} as const;

export function toBackupWorkMessage({ kind, doneBytes, totalBytes, startTimeMs }: BackupWork): BackupWorkMessage {
  return create(BackupWorkSchema, {
    ...{ kind: kinds[kind], doneBytes: BigInt(doneBytes), totalBytes: BigInt(totalBytes) },
    startTime: timestampFromMs(startTimeMs),
  });
}
