import type { DatabaseSync } from "node:sqlite";
import { z } from "zod";

/** What is recorded of a drain. */
export interface DrainRecord {
  /** What becomes of the tenants there are. */
  readonly tenants: "suspend" | "keep";
  readonly reason: string;
  readonly startTimeMs: number;
}

/** The drain of this host, if it is drained. Each write is durable on return. */
export interface DrainStore {
  find(): DrainRecord | undefined;
  /** One that is in force keeps its start. */
  put(drain: DrainRecord): DrainRecord;
  /** Returns whether there was one. */
  clear(): boolean;
}

const rowSchema = z
  .object({ tenants: z.enum(["suspend", "keep"]), reason: z.string(), start_time_ms: z.number() })
  .transform(({ start_time_ms: startTimeMs, ...row }): DrainRecord => ({ ...row, startTimeMs }));

export function openDrainStore(database: DatabaseSync): DrainStore {
  const columns = "tenants, reason, start_time_ms";
  const read = database.prepare(`SELECT ${columns} FROM host_drain`);
  const write = database.prepare(
    `INSERT INTO host_drain (only_row, ${columns}) VALUES (1, ?, ?, ?)
     ON CONFLICT (only_row) DO UPDATE SET tenants = excluded.tenants, reason = excluded.reason RETURNING ${columns}`,
  );
  const remove = database.prepare("DELETE FROM host_drain");
  return {
    find: () => rowSchema.optional().parse(read.get()),
    put: ({ tenants, reason, startTimeMs }) => rowSchema.parse(write.get(tenants, reason, startTimeMs)),
    clear: () => remove.run().changes > 0,
  };
}
