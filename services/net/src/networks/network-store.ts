import type { DatabaseSync } from "node:sqlite";
import { transaction } from "@lobsterd/chassis/sqlite.ts";
import { z } from "zod";

/** What is true: microVM `vmId` has the network of `slot`. Everything on the host follows from these. */
export interface NetworkRecord {
  readonly vmId: string;
  readonly slot: number;
  readonly attachTimeMs: number;
}

/** A slot whose tenant is gone and whose namespace still has to be made anew. */
export interface RetiredSlot {
  readonly vmId: string;
  readonly slot: number;
}

export const migrations = [
  `CREATE TABLE network (
     vm_id TEXT PRIMARY KEY,
     slot INTEGER NOT NULL UNIQUE,
     attach_time_ms INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE retired_slot (
     slot INTEGER PRIMARY KEY,
     vm_id TEXT NOT NULL
   ) STRICT`,
] as const;

const networkRow = z
  .object({ vm_id: z.string(), slot: z.number(), attach_time_ms: z.number() })
  .transform((row): NetworkRecord => ({ vmId: row.vm_id, slot: row.slot, attachTimeMs: row.attach_time_ms }));
const retiredRow = z
  .object({ vm_id: z.string(), slot: z.number() })
  .transform((row): RetiredSlot => ({ vmId: row.vm_id, slot: row.slot }));

/** Each write is durable when it returns. */
export interface NetworkStore {
  find(vmId: string): NetworkRecord | undefined;
  holderOf(slot: number): NetworkRecord | undefined;
  /** In the order of `vmId`, those after `afterVmId`. */
  list(afterVmId: string, limit: number): NetworkRecord[];
  all(): NetworkRecord[];
  /** Throws if the microVM or the slot has a record. */
  record(network: NetworkRecord): void;
  /** Takes back a record of which nothing came into effect. */
  forget(vmId: string): void;
  /** Ends a network: its slot counts as used until `clearRetired`. */
  retire(vmId: string): void;
  retired(): RetiredSlot[];
  clearRetired(slot: number): void;
}

export function openNetworkStore(database: DatabaseSync): NetworkStore {
  const columns = "SELECT vm_id, slot, attach_time_ms FROM network";
  const byVm = database.prepare(`${columns} WHERE vm_id = ?`);
  const bySlot = database.prepare(`${columns} WHERE slot = ?`);
  const page = database.prepare(`${columns} WHERE vm_id > ? ORDER BY vm_id LIMIT ?`);
  const everything = database.prepare(`${columns} ORDER BY slot`);
  const insert = database.prepare("INSERT INTO network (vm_id, slot, attach_time_ms) VALUES (?, ?, ?)");
  const remove = database.prepare("DELETE FROM network WHERE vm_id = ?");
  const addRetired = database.prepare(
    "INSERT OR REPLACE INTO retired_slot SELECT slot, vm_id FROM network WHERE vm_id = ?",
  );
  const retired = database.prepare("SELECT slot, vm_id FROM retired_slot ORDER BY slot");
  const removeRetired = database.prepare("DELETE FROM retired_slot WHERE slot = ?");
  return {
    find: (vmId) => networkRow.optional().parse(byVm.get(vmId)),
    holderOf: (slot) => networkRow.optional().parse(bySlot.get(slot)),
    list: (afterVmId, limit) => page.all(afterVmId, limit).map((row) => networkRow.parse(row)),
    all: () => everything.all().map((row) => networkRow.parse(row)),
    record: ({ vmId, slot, attachTimeMs }) => void insert.run(vmId, slot, attachTimeMs),
    forget: (vmId) => void remove.run(vmId),
    retire: (vmId) =>
      transaction(database, () => {
        addRetired.run(vmId);
        remove.run(vmId);
      }),
    retired: () => retired.all().map((row) => retiredRow.parse(row)),
    clearRetired: (slot) => void removeRetired.run(slot),
  };
}
