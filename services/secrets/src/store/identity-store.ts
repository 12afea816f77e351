import type { DatabaseSync } from "node:sqlite";
import { integer, optionalInteger, type Row, text } from "./rows.ts";

/** One generation of one microVM: who a guest certificate speaks for. */
export interface GuestName {
  readonly tenant: string;
  readonly vmId: string;
  readonly generation: number;
}

/** The newest identity issued to a microVM, and its injection lease. Older generations are stale and not kept. */
export interface IssuedIdentity extends GuestName {
  readonly serial: string;
  readonly issueTimeMs: number;
  readonly expireTimeMs: number;
  /** End of the one lease; `undefined` until it is acquired. */
  readonly leaseExpireTimeMs: number | undefined;
  /** When the one injection was delivered. */
  readonly injectTimeMs: number | undefined;
}

export interface IdentityStore {
  find(vmId: string): IssuedIdentity | undefined;
  /** Replaces what was issued to this microVM before. */
  write(identity: Omit<IssuedIdentity, "leaseExpireTimeMs" | "injectTimeMs">): void;
  /** Gives the identity its one lease. False if it has had one, or is gone or another one. */
  grantLease(name: GuestName, expireTimeMs: number): boolean;
  /** Marks the lease as used. False if the identity is gone, another one or already used. */
  markInjected(name: GuestName, nowMs: number): boolean;
  /** Forgets the identities of a tenant, or of one of its microVMs; returns the ids of those microVMs. */
  revoke(tenant: string, vmId?: string): string[];
}

export function openIdentityStore(database: DatabaseSync): IdentityStore {
  const find = database.prepare("SELECT * FROM guest_identity WHERE vm_id = ?");
  const write = database.prepare(
    `INSERT OR REPLACE INTO guest_identity (vm_id, tenant, generation, serial, issue_time_ms, expire_time_ms,
       lease_expire_time_ms, inject_time_ms) VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)`,
  );
  const grantLease = database.prepare(
    `UPDATE guest_identity SET lease_expire_time_ms = ?
     WHERE vm_id = ? AND tenant = ? AND generation = ? AND lease_expire_time_ms IS NULL`,
  );
  const markInjected = database.prepare(
    `UPDATE guest_identity SET inject_time_ms = ?
     WHERE vm_id = ? AND tenant = ? AND generation = ? AND inject_time_ms IS NULL`,
  );
  const revokeAll = database.prepare("DELETE FROM guest_identity WHERE tenant = ? RETURNING vm_id");
  const revokeOne = database.prepare("DELETE FROM guest_identity WHERE tenant = ? AND vm_id = ? RETURNING vm_id");
  return {
    find(vmId) {
      const row = find.get(vmId);
      return row === undefined ? undefined : issuedIdentity(row);
    },
    write(identity) {
      const { vmId, tenant, generation, serial, issueTimeMs, expireTimeMs } = identity;
      write.run(vmId, tenant, generation, serial, issueTimeMs, expireTimeMs);
    },
    grantLease: ({ vmId, tenant, generation }, expireTimeMs) =>
      grantLease.run(expireTimeMs, vmId, tenant, generation).changes === 1,
    markInjected: (name, nowMs) => markInjected.run(nowMs, name.vmId, name.tenant, name.generation).changes === 1,
    revoke: (tenant, vmId) =>
      (vmId === undefined ? revokeAll.all(tenant) : revokeOne.all(tenant, vmId)).map((row) => text(row, "vm_id")),
  };
}

function issuedIdentity(row: Row): IssuedIdentity {
  return {
    tenant: text(row, "tenant"),
    vmId: text(row, "vm_id"),
    generation: integer(row, "generation"),
    serial: text(row, "serial"),
    issueTimeMs: integer(row, "issue_time_ms"),
    expireTimeMs: integer(row, "expire_time_ms"),
    leaseExpireTimeMs: optionalInteger(row, "lease_expire_time_ms"),
    injectTimeMs: optionalInteger(row, "inject_time_ms"),
  };
}
