import type { DatabaseSync } from "node:sqlite";
import { z } from "zod";

/** A backup that is whole. It goes with its tenant's row. */
export interface BackupRecord {
  /** Rises with each one that is added. */
  readonly sequence: number;
  /** Digest of the file's header. */
  readonly backupId: string;
  readonly vmId: string;
  /** The request that added it. */
  readonly requestId: string;
  /** Among the tenant's sealed sets; names the file, and what the data key is bound to. */
  readonly counter: number;
  readonly generation: number;
  readonly diskMib: number;
  /** Of the sealed file. */
  readonly sizeBytes: number;
  readonly createTimeMs: number;
  /** When it was made here or imported; retention goes by it. */
  readonly addTimeMs: number;
}

/** Each write is durable on return. */
export interface BackupStore {
  find(backupId: string): BackupRecord | undefined;
  findByRequest(requestId: string): BackupRecord | undefined;
  findByCounter(vmId: string, counter: number): BackupRecord | undefined;
  /** Those of a tenant, the newest first, of lower sequence than `before`. */
  page(vmId: string, before: number, limit: number): readonly BackupRecord[];
  insert(backup: Omit<BackupRecord, "sequence">): BackupRecord;
  /** Forgets it, but for the request that asked. */
  delete(backup: BackupRecord, requestId: string): void;
  isDeletedBy(vmId: string, backupId: string, requestId: string): boolean;
  /** Those that retention gives up: of each tenant all but the last `keepCount`, and what was added before `oldestTimeMs`. */
  expired(keepCount: number, oldestTimeMs: number): readonly BackupRecord[];
  /** Forgets the deletions of what was added before `oldestTimeMs`. */
  forgetDeleted(oldestTimeMs: number): void;
  totalBytes(): number;
  all(): readonly BackupRecord[];
}

const rowSchema = z
  .object({
    sequence: z.number(),
    backup_id: z.string(),
    vm_id: z.string(),
    request_id: z.string(),
    counter: z.number(),
    generation: z.number(),
    disk_mib: z.number(),
    size_bytes: z.number(),
    create_time_ms: z.number(),
    add_time_ms: z.number(),
  })
  .transform(
    (row): BackupRecord => ({
      ...{ sequence: row.sequence, backupId: row.backup_id, vmId: row.vm_id, requestId: row.request_id },
      ...{ counter: row.counter, generation: row.generation, diskMib: row.disk_mib, sizeBytes: row.size_bytes },
      ...{ createTimeMs: row.create_time_ms, addTimeMs: row.add_time_ms },
    }),
  );

const there = "FROM backup WHERE delete_request_id IS NULL";

export function openBackupStore(database: DatabaseSync): BackupStore {
  const byId = database.prepare(`SELECT * ${there} AND backup_id = ?`);
  const byRequest = database.prepare(`SELECT * ${there} AND request_id = ?`);
  const byCounter = database.prepare(`SELECT * ${there} AND vm_id = ? AND counter = ?`);
  const page = database.prepare(`SELECT * ${there} AND vm_id = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?`);
  const every = database.prepare(`SELECT * ${there} ORDER BY sequence`);
  const total = database.prepare(`SELECT coalesce(sum(size_bytes), 0) AS bytes ${there}`);
  const insert = database.prepare(
    `INSERT INTO backup (backup_id, vm_id, request_id, counter, generation, disk_mib, size_bytes, create_time_ms, add_time_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *`,
  );
  const mark = database.prepare("UPDATE backup SET delete_request_id = ? WHERE sequence = ?");
  const marked = database.prepare("SELECT 1 FROM backup WHERE vm_id = ? AND backup_id = ? AND delete_request_id = ?");
  const expired = database.prepare(
    `SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY vm_id ORDER BY sequence DESC) AS place ${there})
     WHERE place > ? OR add_time_ms < ? ORDER BY sequence`,
  );
  const forget = database.prepare("DELETE FROM backup WHERE delete_request_id IS NOT NULL AND add_time_ms < ?");
  const one = (row: unknown) => (row === undefined ? undefined : rowSchema.parse(row));
  return {
    find: (backupId) => one(byId.get(backupId)),
    findByRequest: (requestId) => one(byRequest.get(requestId)),
    findByCounter: (vmId, counter) => one(byCounter.get(vmId, counter)),
    page: (vmId, before, limit) => page.all(vmId, before, limit).map((row) => rowSchema.parse(row)),
    insert: (backup) =>
      rowSchema.parse(
        insert.get(
          backup.backupId,
          backup.vmId,
          backup.requestId,
          backup.counter,
          backup.generation,
          backup.diskMib,
          backup.sizeBytes,
          backup.createTimeMs,
          backup.addTimeMs,
        ),
      ),
    delete: ({ sequence }, requestId) => void mark.run(requestId, sequence),
    isDeletedBy: (vmId, backupId, requestId) => marked.get(vmId, backupId, requestId) !== undefined,
    expired: (keepCount, oldestTimeMs) => expired.all(keepCount, oldestTimeMs).map((row) => rowSchema.parse(row)),
    forgetDeleted: (oldestTimeMs) => void forget.run(oldestTimeMs),
    totalBytes: () => Number(total.get()?.["bytes"] ?? 0),
    all: () => every.all().map((row) => rowSchema.parse(row)),
  };
}
