import type { DatabaseSync } from "node:sqlite";

/** `caller`: of AcquireHold. `stream`: of a command or a log that runs. Each kind has a bound of its own. */
export type HoldKind = "caller" | "stream";

export interface HoldRow {
  readonly holdId: string;
  readonly vmId: string;
  readonly kind: HoldKind;
  readonly expireTimeMs: number;
}

/** Holds by microVM; they go away with their tenant. Each write is durable on return. */
export interface HoldStore {
  put(hold: HoldRow): void;
  /** Does nothing for one that is gone, as it is with its tenant. */
  extend(holdId: string, expireTimeMs: number): void;
  find(vmId: string, holdId: string): HoldRow | undefined;
  /** Those that end after `afterMs` and not after `untilMs`. */
  count(vmId: string, afterMs: number, untilMs: number, kind?: HoldKind): number;
  remove(vmId: string, holdId: string): void;
  /** Forgets those of a microVM that do not end in that time. */
  prune(vmId: string, afterMs: number, untilMs: number): void;
}

export function openHoldStore(database: DatabaseSync): HoldStore {
  const put = database.prepare(
    `INSERT INTO hold (hold_id, vm_id, kind, expire_time_ms) VALUES (?, ?, ?, ?)
     ON CONFLICT (hold_id) DO UPDATE SET expire_time_ms = excluded.expire_time_ms`,
  );
  const extend = database.prepare("UPDATE hold SET expire_time_ms = ? WHERE hold_id = ?");
  const find = database.prepare("SELECT * FROM hold WHERE hold_id = ? AND vm_id = ?");
  const count = database.prepare(
    `SELECT count(*) AS holds FROM hold
     WHERE vm_id = ? AND expire_time_ms > ? AND expire_time_ms <= ? AND kind = coalesce(?, kind)`,
  );
  const remove = database.prepare("DELETE FROM hold WHERE hold_id = ? AND vm_id = ?");
  const prune = database.prepare(
    "DELETE FROM hold WHERE vm_id = ? AND NOT (expire_time_ms > ? AND expire_time_ms <= ?)",
  );
  return {
    put: ({ holdId, vmId, kind, expireTimeMs }) => void put.run(holdId, vmId, kind, expireTimeMs),
    extend: (holdId, expireTimeMs) => void extend.run(expireTimeMs, holdId),
    find: (vmId, holdId) => {
      const row = find.get(holdId, vmId);
      if (row === undefined) return undefined;
      return { holdId, vmId, kind: row["kind"] as HoldKind, expireTimeMs: Number(row["expire_time_ms"]) };
    },
    count: (vmId, afterMs, untilMs, kind) => Number(count.get(vmId, afterMs, untilMs, kind ?? null)?.["holds"] ?? 0),
    remove: (vmId, holdId) => void remove.run(holdId, vmId),
    prune: (vmId, afterMs, untilMs) => void prune.run(vmId, afterMs, untilMs),
  };
}
