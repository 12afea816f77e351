import type { DatabaseSync } from "node:sqlite";
import type { WrappedKey } from "../root-key/provider.ts";
import { blob, text } from "./rows.ts";

/** A tenant's key as it is stored: wrapped by the root key. */
export interface StoredTenantKey extends WrappedKey {
  readonly id: string;
}

export interface TenantKeyStore {
  find(tenant: string): StoredTenantKey | undefined;
  /** Stores `key` unless the tenant has one. True if it was stored. */
  insert(tenant: string, key: StoredTenantKey, nowMs: number): boolean;
  /** True while the tenant's key is the one with `id`: asked inside the transaction that writes under it. */
  holds(tenant: string, id: string): boolean;
  /** Id of the key that was deleted; `undefined` if there was none. */
  delete(tenant: string): string | undefined;
  /** At most `limit` tenants whose key is not wrapped by this root key, by name after `afterTenant`. */
  listNotUnder(rootKeyId: string, afterTenant: string | undefined, limit: number): string[];
  /** Replaces the wrapping of a key that is still the tenant's. True if it was. */
  rewrap(tenant: string, key: StoredTenantKey): boolean;
}

export function openTenantKeyStore(database: DatabaseSync): TenantKeyStore {
  const find = database.prepare("SELECT id, root_key_id, wrapped FROM tenant_key WHERE tenant = ?");
  const insert = database.prepare(
    `INSERT INTO tenant_key (tenant, id, root_key_id, wrapped, create_time_ms) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (tenant) DO NOTHING`,
  );
  const holds = database.prepare("SELECT 1 FROM tenant_key WHERE tenant = ? AND id = ?");
  const listNotUnder = database.prepare(
    "SELECT tenant FROM tenant_key WHERE root_key_id <> ? AND tenant > ? ORDER BY tenant LIMIT ?",
  );
  const listFirstNotUnder = database.prepare(
    "SELECT tenant FROM tenant_key WHERE root_key_id <> ? ORDER BY tenant LIMIT ?",
  );
  const rewrap = database.prepare("UPDATE tenant_key SET root_key_id = ?, wrapped = ? WHERE tenant = ? AND id = ?");
  const remove = database.prepare("DELETE FROM tenant_key WHERE tenant = ? RETURNING id");
  return {
    find(tenant) {
      const row = find.get(tenant);
      if (row === undefined) return undefined;
      return { id: text(row, "id"), rootKeyId: text(row, "root_key_id"), bytes: blob(row, "wrapped") };
    },
    insert: (tenant, key, nowMs) => insert.run(tenant, key.id, key.rootKeyId, key.bytes, nowMs).changes === 1,
    listNotUnder: (rootKeyId, afterTenant, limit) =>
      (afterTenant === undefined
        ? listFirstNotUnder.all(rootKeyId, limit)
        : listNotUnder.all(rootKeyId, afterTenant, limit)
      ).map((row) => text(row, "tenant")),
    rewrap: (tenant, key) => rewrap.run(key.rootKeyId, key.bytes, tenant, key.id).changes === 1,
    holds: (tenant, id) => holds.get(tenant, id) !== undefined,
    delete(tenant) {
      const row = remove.get(tenant);
      return row === undefined ? undefined : text(row, "id");
    },
  };
}
