import type { DatabaseSync } from "node:sqlite";
import { transaction } from "@lobsterd/chassis/sqlite.ts";

/** One wake of a tenant, in Unix time. One that failed, or that `vm` died in, has no end. */
export interface Wake {
  readonly beginTimeMs: number;
  readonly endTimeMs: number | undefined;
}

/** When tenants were woken by requests. What was written is durable on return; a tenant's rows go with it. */
export interface WakeStore {
  /** Forgets those of the tenant that began before `keepFromMs`. */
  begin(vmId: string, nowMs: number, keepFromMs: number): void;
  /** Of the last one. */
  end(vmId: string, nowMs: number): void;
  /** Begins between these two, oldest first. */
  beginsBetween(vmId: string, fromMs: number, toMs: number): readonly number[];
  last(vmId: string): Wake | undefined;
}

export function openWakeStore(database: DatabaseSync): WakeStore {
  const forget = database.prepare("DELETE FROM wake WHERE vm_id = ? AND begin_time_ms < ?");
  const insert = database.prepare("INSERT INTO wake (vm_id, begin_time_ms) VALUES (?, ?)");
  const latest = "SELECT rowid FROM wake WHERE vm_id = ? ORDER BY rowid DESC LIMIT 1";
  const end = database.prepare(`UPDATE wake SET end_time_ms = ? WHERE rowid = (${latest})`);
  const between = database.prepare(
    "SELECT begin_time_ms FROM wake WHERE vm_id = ? AND begin_time_ms BETWEEN ? AND ? ORDER BY begin_time_ms",
  );
  const last = database.prepare(`SELECT begin_time_ms, end_time_ms FROM wake WHERE rowid = (${latest})`);
  return {
    begin: (vmId, nowMs, keepFromMs) =>
      transaction(database, () => {
        forget.run(vmId, keepFromMs);
        insert.run(vmId, nowMs);
      }),
    end: (vmId, nowMs) => void end.run(nowMs, vmId),
    beginsBetween: (vmId, fromMs, toMs) => between.all(vmId, fromMs, toMs).map((row) => Number(row["begin_time_ms"])),
    last: (vmId) => {
      const row = last.get(vmId);
      if (row === undefined) return undefined;
      const endTimeMs = row["end_time_ms"];
      return {
        beginTimeMs: Number(row["begin_time_ms"]),
        endTimeMs: endTimeMs === null ? undefined : Number(endTimeMs),
      };
    },
  };
}
