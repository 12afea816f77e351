import type { DatabaseSync } from "node:sqlite";
import { z } from "zod";
import type { Labels } from "../sealed/guest-set.ts";
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

/** A guest that has its secrets: where new versions of them are sent. */
export interface GuestSession extends GuestName {
  readonly guestAddress: string;
  readonly labels: Labels;
}

export interface IdentityStore {
  find(vmId: string): IssuedIdentity | undefined;
  /** Replaces what was issued to this microVM before; without `owner` the tenant stays whose it was. */
  write(identity: Omit<IssuedIdentity, "leaseExpireTimeMs" | "injectTimeMs"> & { readonly owner?: string }): void;
  /** Whether a guest of this tenant was issued an identity for `owner`, who is somebody. Ends with the identity. */
  isOwned(tenant: string, owner: string): boolean;
  /** Notes a new certificate; lease and session stay. False if the identity is gone or another one. */
  renew(name: GuestName, serial: string, expireTimeMs: number): boolean;
  /** Gives the identity its one lease. False if it has had one, or is gone or another one. */
  grantLease(name: GuestName, expireTimeMs: number): boolean;
  /** Marks the lease as used, which opens the guest's session. False if the identity is gone, another one or already used. */
  markInjected(session: GuestSession, nowMs: number): boolean;
  findSession(vmId: string): GuestSession | undefined;
  /** Sessions of a tenant, or of all of them. */
  listSessions(tenant?: string): GuestSession[];
  hasAny(tenant: string): boolean;
  /** Forgets the identities of a tenant, or of one of its microVMs; returns the ids of those microVMs. */
  revoke(tenant: string, vmId?: string): string[];
}

export function openIdentityStore(database: DatabaseSync): IdentityStore {
  const find = database.prepare("SELECT * FROM guest_identity WHERE vm_id = ?");
  const write = database.prepare(
    `INSERT OR REPLACE INTO guest_identity (vm_id, tenant, generation, serial, issue_time_ms, expire_time_ms,
       tenant_owner, lease_expire_time_ms, inject_time_ms)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce(?7, (SELECT tenant_owner FROM guest_identity WHERE vm_id = ?1), ''), NULL, NULL)`,
  );
  const owned = database.prepare(
    "SELECT 1 FROM guest_identity WHERE tenant = ? AND tenant_owner = ? AND tenant_owner <> ''",
  );
  const grantLease = database.prepare(
    `UPDATE guest_identity SET lease_expire_time_ms = ?
     WHERE vm_id = ? AND tenant = ? AND generation = ? AND lease_expire_time_ms IS NULL`,
  );
  const markInjected = database.prepare(
    `UPDATE guest_identity SET inject_time_ms = ?, guest_address = ?, labels = ?
     WHERE vm_id = ? AND tenant = ? AND generation = ? AND inject_time_ms IS NULL`,
  );
  const renew = database.prepare(
    "UPDATE guest_identity SET serial = ?, expire_time_ms = ? WHERE vm_id = ? AND tenant = ? AND generation = ?",
  );
  const session = "SELECT * FROM guest_identity WHERE guest_address IS NOT NULL";
  const findSession = database.prepare(`${session} AND vm_id = ?`);
  const sessionsOfTenant = database.prepare(`${session} AND tenant = ?`);
  const allSessions = database.prepare(session);
  const any = database.prepare("SELECT 1 FROM guest_identity WHERE tenant = ?");
  const revokeAll = database.prepare("DELETE FROM guest_identity WHERE tenant = ? RETURNING vm_id");
  const revokeOne = database.prepare("DELETE FROM guest_identity WHERE tenant = ? AND vm_id = ? RETURNING vm_id");
  return {
    find(vmId) {
      const row = find.get(vmId);
      return row === undefined ? undefined : issuedIdentity(row);
    },
    write(identity) {
      const { vmId, tenant, generation, serial, issueTimeMs, expireTimeMs, owner } = identity;
      write.run(vmId, tenant, generation, serial, issueTimeMs, expireTimeMs, owner ?? null);
    },
    isOwned: (tenant, owner) => owned.get(tenant, owner) !== undefined,
    renew: (name, serial, expireTimeMs) =>
      renew.run(serial, expireTimeMs, name.vmId, name.tenant, name.generation).changes === 1,
    grantLease: ({ vmId, tenant, generation }, expireTimeMs) =>
      grantLease.run(expireTimeMs, vmId, tenant, generation).changes === 1,
    markInjected({ tenant, vmId, generation, guestAddress, labels }, nowMs) {
      const { changes } = markInjected.run(nowMs, guestAddress, JSON.stringify(labels), vmId, tenant, generation);
      return changes === 1;
    },
    findSession(vmId) {
      const row = findSession.get(vmId);
      return row === undefined ? undefined : guestSession(row);
    },
    listSessions: (tenant) =>
      (tenant === undefined ? allSessions.all() : sessionsOfTenant.all(tenant)).map(guestSession),
    hasAny: (tenant) => any.get(tenant) !== undefined,
    revoke: (tenant, vmId) =>
      (vmId === undefined ? revokeAll.all(tenant) : revokeOne.all(tenant, vmId)).map((row) => text(row, "vm_id")),
  };
}

const labelsSchema = z.record(z.string(), z.string());

function guestSession(row: Row): GuestSession {
  return {
    tenant: text(row, "tenant"),
    vmId: text(row, "vm_id"),
    generation: integer(row, "generation"),
    guestAddress: text(row, "guest_address"),
    labels: labelsSchema.parse(JSON.parse(text(row, "labels"))),
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
