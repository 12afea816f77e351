import type { DatabaseSync } from "node:sqlite";
import type { IssuedClient } from "@lobsterd/chassis/client-list.ts";
import { integer, type Row, text } from "../store/rows.ts";

/** A certificate that counts. */
export interface ClientRecord {
  readonly name: string;
  readonly role: IssuedClient["role"];
  /** Upper-case hexadecimal. */
  readonly serialNumber: string;
  readonly issueTimeMs: number;
  readonly expireTimeMs: number;
}

/** Certificates that count, and no others: one that was revoked or has expired is in the audit log. And the names that were revoked. */
export interface ClientStore {
  insert(client: ClientRecord): void;
  count(): number;
  /** At most `limit`, by name and serial number, after the key of another one. */
  list(afterKey: string, limit: number): ClientRecord[];
  /** Removes those of a name, or the one with that serial number; returns the serial numbers. */
  remove(name: string, serialNumber?: string): string[];
  removeExpired(nowMs: number): void;
  revokeName(name: string, nowMs: number): void;
  restoreName(name: string): void;
  isRevoked(name: string): boolean;
}

/** Where a certificate stands in a list. */
export function listKey({ name, serialNumber }: ClientRecord): string {
  return `${name}/${serialNumber}`;
}

export function openClientStore(database: DatabaseSync): ClientStore {
  const insert = database.prepare(
    "INSERT INTO client_certificate (serial_number, name, role, issue_time_ms, expire_time_ms) VALUES (?, ?, ?, ?, ?)",
  );
  const count = database.prepare("SELECT count(*) AS count FROM client_certificate");
  const key = "name || '/' || serial_number";
  const list = database.prepare(`SELECT * FROM client_certificate WHERE ${key} > ? ORDER BY ${key} LIMIT ?`);
  const remove = database.prepare(
    "DELETE FROM client_certificate WHERE name = ?1 AND (?2 = '' OR serial_number = ?2) RETURNING serial_number",
  );
  const removeExpired = database.prepare("DELETE FROM client_certificate WHERE expire_time_ms <= ?");
  const revokeName = database.prepare("INSERT OR REPLACE INTO revoked_client (name, revoke_time_ms) VALUES (?, ?)");
  const restoreName = database.prepare("DELETE FROM revoked_client WHERE name = ?");
  const revoked = database.prepare("SELECT 1 FROM revoked_client WHERE name = ?");
  return {
    insert({ serialNumber, name, role, issueTimeMs, expireTimeMs }) {
      insert.run(serialNumber, name, role, issueTimeMs, expireTimeMs);
    },
    count: () => integer(count.get() ?? {}, "count"),
    list: (afterKey, limit) => list.all(afterKey, limit).map(clientRecord),
    remove: (name, serialNumber = "") => remove.all(name, serialNumber).map((row) => text(row, "serial_number")),
    removeExpired: (nowMs) => void removeExpired.run(nowMs),
    revokeName: (name, nowMs) => void revokeName.run(name, nowMs),
    restoreName: (name) => void restoreName.run(name),
    isRevoked: (name) => revoked.get(name) !== undefined,
  };
}

function clientRecord(row: Row): ClientRecord {
  const role = text(row, "role");
  if (role !== "viewer" && role !== "owner") throw new TypeError(`${role} is no role of a client`);
  return {
    ...{ name: text(row, "name"), role, serialNumber: text(row, "serial_number") },
    ...{ issueTimeMs: integer(row, "issue_time_ms"), expireTimeMs: integer(row, "expire_time_ms") },
  };
}
