import type { DatabaseSync } from "node:sqlite";
import { transaction } from "@lobsterd/chassis/sqlite.ts";
import { uuidv7 } from "uuidv7";
import { emptyWriteAheadLog } from "../store/database.ts";
import type { IdentityStore } from "../store/identity-store.ts";
import type { SecretStore } from "../store/secret-store.ts";
import type { TenantKeyStore } from "../store/tenant-key-store.ts";

/** What a shred did. */
export interface Shredded {
  /** `undefined` if the tenant had no key. */
  readonly tenantKeyId: string | undefined;
  readonly vmIds: readonly string[];
}

/** Durable on return, safe to repeat; needs no root key. What the provider has to destroy is noted in the same transaction, for `KeyDestruction`. */
export interface Shredder {
  /** Destroys a tenant's key and everything under it. */
  shred(tenant: string): Shredded;
  /** The same, if nobody misses it: a tenant without microVMs that has no secret and no token that anybody was told. */
  shredUnused(tenant: string): Shredded | undefined;
}

export function shredder(parts: {
  database: DatabaseSync;
  keyStore: TenantKeyStore;
  secrets: SecretStore;
  identities: IdentityStore;
  now: () => number;
}): Shredder {
  const { database, keyStore, secrets, identities, now } = parts;
  const note = database.prepare(
    "INSERT INTO key_destruction (tenant_key_id, tenant, event_id, shred_time_ms) VALUES (?, ?, ?, ?)",
  );
  const shred = (tenant: string): Shredded => {
    // The key first and durable by itself: from here on the rest is noise, whatever happens to this process.
    const { tenantKeyId, vmIds } = transaction(database, () => {
      const deletedId = keyStore.delete(tenant);
      if (deletedId !== undefined) note.run(deletedId, tenant, uuidv7(), now());
      return { tenantKeyId: deletedId, vmIds: identities.revoke(tenant) };
    });
    transaction(database, () => secrets.deleteTenant(tenant));
    emptyWriteAheadLog(database);
    return { tenantKeyId, vmIds };
  };
  return {
    shred,
    shredUnused: (tenant) => (secrets.isMissed(tenant) || identities.hasAny(tenant) ? undefined : shred(tenant)),
  };
}
