import type { DatabaseSync } from "node:sqlite";
import { transaction } from "@lobsterd/chassis/sqlite.ts";
import { integer, type Row, text } from "./rows.ts";

/** A version of a secret that a running guest has, and where. */
export interface DeliveredSecret {
  /** Owner of the secret: a tenant, or `""` for a shared one. */
  readonly owner: string;
  readonly name: string;
  readonly version: number;
  /** As `encodeTarget` writes it. */
  readonly target: string;
  readonly deliverTimeMs: number;
}

/** A running guest that has a version of one secret. */
export interface SecretHolder {
  readonly tenant: string;
  readonly vmId: string;
  readonly generation: number;
  readonly version: number;
  readonly deliverTimeMs: number;
}

/** What running guests have. Rows go with the identity of their microVM. */
export interface DeliveryStore {
  list(vmId: string): DeliveredSecret[];
  /** At most `limit` guests that have the secret, those that have another version than `version` first. */
  listOf(owner: string, name: string, version: number, limit: number): SecretHolder[];
  /** Replaces what the guest has. Does nothing if its identity is gone. */
  replace(vmId: string, delivered: readonly Omit<DeliveredSecret, "deliverTimeMs">[], nowMs: number): void;
}

export function openDeliveryStore(database: DatabaseSync): DeliveryStore {
  const list = database.prepare("SELECT * FROM delivered_secret WHERE vm_id = ? ORDER BY owner, name");
  const listOf = database.prepare(
    `SELECT tenant, vm_id, generation, version, deliver_time_ms FROM delivered_secret JOIN guest_identity USING (vm_id)
     WHERE owner = ? AND name = ? ORDER BY version = ?, deliver_time_ms LIMIT ?`,
  );
  const clear = database.prepare("DELETE FROM delivered_secret WHERE vm_id = ?");
  const insert = database.prepare(
    `INSERT INTO delivered_secret (vm_id, owner, name, version, target, deliver_time_ms)
     SELECT vm_id, ?, ?, ?, ?, ? FROM guest_identity WHERE vm_id = ?`,
  );
  return {
    list: (vmId) => list.all(vmId).map(deliveredSecret),
    listOf: (owner, name, version, limit) =>
      listOf.all(owner, name, version, limit).map((row) => ({
        tenant: text(row, "tenant"),
        vmId: text(row, "vm_id"),
        generation: integer(row, "generation"),
        version: integer(row, "version"),
        deliverTimeMs: integer(row, "deliver_time_ms"),
      })),
    replace(vmId, delivered, nowMs) {
      transaction(database, () => {
        clear.run(vmId);
        for (const { owner, name, version, target } of delivered) insert.run(owner, name, version, target, nowMs, vmId);
      });
    },
  };
}

function deliveredSecret(row: Row): DeliveredSecret {
  return {
    owner: text(row, "owner"),
    name: text(row, "name"),
    version: integer(row, "version"),
    target: text(row, "target"),
    deliverTimeMs: integer(row, "deliver_time_ms"),
  };
}
