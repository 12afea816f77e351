import type { DatabaseSync } from "node:sqlite";
import { transaction } from "@lobsterd/chassis/sqlite.ts";
import { z } from "zod";
import type { Egress, Limits } from "./policy.ts";

/** What is true: microVM `vmId` has the network of `slot`. Everything on the host follows from these. */
export interface NetworkRecord {
  readonly vmId: string;
  readonly slot: number;
  readonly attachTimeMs: number;
  readonly egress: Egress;
  readonly limits: Limits;
}

/** A slot whose tenant is gone and whose namespace still has to be made anew. */
export interface RetiredSlot {
  readonly vmId: string;
  readonly slot: number;
}

/** A slot that had a tenant, and since when it has not. */
export interface FreedSlot extends RetiredSlot {
  readonly freeTimeMs: number;
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
  `ALTER TABLE network ADD COLUMN egress TEXT NOT NULL DEFAULT '{"mode":"internet"}';
   ALTER TABLE network ADD COLUMN limits TEXT NOT NULL
     DEFAULT '{"sentKbits":10000,"receivedKbits":10000,"sentPackets":1000,"receivedPackets":1000}';
   CREATE TABLE freed_slot (
     slot INTEGER PRIMARY KEY,
     vm_id TEXT NOT NULL,
     free_time_ms INTEGER NOT NULL
   ) STRICT`,
] as const;

const egressSchema = z.discriminatedUnion("mode", [
  z.object({ mode: z.literal("internet") }),
  z.object({ mode: z.literal("none") }),
  z.object({
    mode: z.literal("list"),
    rules: z.array(
      z
        .object({ cidr: z.string(), port: z.number().optional(), protocol: z.enum(["tcp", "udp"]).optional() })
        .transform(({ cidr, port, protocol }) => ({ cidr, port, protocol })),
    ),
  }),
]);
const limitsSchema = z.object({
  sentKbits: z.number(),
  receivedKbits: z.number(),
  sentPackets: z.number(),
  receivedPackets: z.number(),
});
const networkRow = z
  .object({ vm_id: z.string(), slot: z.number(), attach_time_ms: z.number(), egress: z.string(), limits: z.string() })
  .transform(
    (row): NetworkRecord => ({
      vmId: row.vm_id,
      slot: row.slot,
      attachTimeMs: row.attach_time_ms,
      egress: egressSchema.parse(JSON.parse(row.egress)),
      limits: limitsSchema.parse(JSON.parse(row.limits)),
    }),
  );
const retiredRow = z
  .object({ vm_id: z.string(), slot: z.number() })
  .transform((row): RetiredSlot => ({ vmId: row.vm_id, slot: row.slot }));
const freedRow = z
  .object({ vm_id: z.string(), slot: z.number(), free_time_ms: z.number() })
  .transform((row): FreedSlot => ({ vmId: row.vm_id, slot: row.slot, freeTimeMs: row.free_time_ms }));

/** Each write is durable when it returns. */
export interface NetworkStore {
  find(vmId: string): NetworkRecord | undefined;
  holderOf(slot: number): NetworkRecord | undefined;
  /** In the order of `vmId`, those after `afterVmId`. */
  list(afterVmId: string, limit: number): NetworkRecord[];
  all(): NetworkRecord[];
  count(): number;
  /** Throws if the microVM or the slot has a record. */
  record(network: NetworkRecord): void;
  setEgress(vmId: string, egress: Egress): void;
  setLimits(vmId: string, limits: Limits): void;
  /** Takes back a record of which nothing came into effect. */
  forget(vmId: string): void;
  /** Ends a network at `nowMs`: its slot counts as used until `clearRetired`, and as freed from then on. */
  retire(vmId: string, nowMs: number): void;
  retired(): RetiredSlot[];
  clearRetired(slot: number): void;
  freed(slot: number): FreedSlot | undefined;
  /** Slots freed after `sinceMs`. */
  countFreedSince(sinceMs: number): number;
}

export function openNetworkStore(database: DatabaseSync): NetworkStore {
  const columns = "SELECT vm_id, slot, attach_time_ms, egress, limits FROM network";
  const byVm = database.prepare(`${columns} WHERE vm_id = ?`);
  const bySlot = database.prepare(`${columns} WHERE slot = ?`);
  const page = database.prepare(`${columns} WHERE vm_id > ? ORDER BY vm_id LIMIT ?`);
  const everything = database.prepare(`${columns} ORDER BY slot`);
  const counted = database.prepare("SELECT count(*) AS networks FROM network");
  const insert = database.prepare(
    "INSERT INTO network (vm_id, slot, attach_time_ms, egress, limits) VALUES (?, ?, ?, ?, ?)",
  );
  const setEgress = database.prepare("UPDATE network SET egress = ? WHERE vm_id = ?");
  const setLimits = database.prepare("UPDATE network SET limits = ? WHERE vm_id = ?");
  const remove = database.prepare("DELETE FROM network WHERE vm_id = ?");
  const addRetired = database.prepare(
    "INSERT OR REPLACE INTO retired_slot SELECT slot, vm_id FROM network WHERE vm_id = ?",
  );
  const addFreed = database.prepare(
    "INSERT OR REPLACE INTO freed_slot SELECT slot, vm_id, ? FROM network WHERE vm_id = ?",
  );
  const retired = database.prepare("SELECT slot, vm_id FROM retired_slot ORDER BY slot");
  const removeRetired = database.prepare("DELETE FROM retired_slot WHERE slot = ?");
  const freed = database.prepare("SELECT slot, vm_id, free_time_ms FROM freed_slot WHERE slot = ?");
  const freedSince = database.prepare(
    "SELECT count(*) AS slots FROM freed_slot WHERE free_time_ms > ? AND slot NOT IN (SELECT slot FROM network)",
  );
  return {
    find: (vmId) => networkRow.optional().parse(byVm.get(vmId)),
    holderOf: (slot) => networkRow.optional().parse(bySlot.get(slot)),
    list: (afterVmId, limit) => page.all(afterVmId, limit).map((row) => networkRow.parse(row)),
    all: () => everything.all().map((row) => networkRow.parse(row)),
    count: () => Number(counted.get()?.["networks"] ?? 0),
    record: ({ vmId, slot, attachTimeMs, egress, limits }) =>
      void insert.run(vmId, slot, attachTimeMs, JSON.stringify(egress), JSON.stringify(limits)),
    setEgress: (vmId, egress) => void setEgress.run(JSON.stringify(egress), vmId),
    setLimits: (vmId, limits) => void setLimits.run(JSON.stringify(limits), vmId),
    forget: (vmId) => void remove.run(vmId),
    retire: (vmId, nowMs) =>
      transaction(database, () => {
        addRetired.run(vmId);
        addFreed.run(nowMs, vmId);
        remove.run(vmId);
      }),
    retired: () => retired.all().map((row) => retiredRow.parse(row)),
    clearRetired: (slot) => void removeRetired.run(slot),
    freed: (slot) => freedRow.optional().parse(freed.get(slot)),
    countFreedSince: (sinceMs) => Number(freedSince.get(sinceMs)?.["slots"] ?? 0),
  };
}
