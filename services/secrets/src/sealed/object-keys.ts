import type { Secret } from "@lobsterd/chassis/secret.ts";
import { makeObjectKey, type ObjectKey, openObjectKey, type SealedObject } from "../envelope/object-key.ts";
import { SealBrokenError } from "../envelope/sealed-box.ts";
import { fail } from "../errors.ts";
import type { TenantKeyStore } from "../store/tenant-key-store.ts";
import type { TenantKeys } from "./tenant-keys.ts";

/**
 * Keys for what is sealed outside this store: snapshots, backups and disks. Nothing of them is kept here, so the tenant's key is all that opens them,
 * and its end is theirs.
 */
export interface ObjectKeys {
  /** Makes a key; `tenantKeyId` names what wrapped it. Throws ROOT_KEY_UNAVAILABLE, TENANT_SHREDDED. */
  create(tenant: string, object: SealedObject): Promise<ObjectKey & { readonly tenantKeyId: string }>;
  /** Throws TENANT_KEY_DESTROYED when the tenant has no key, SEAL_BROKEN when it is another one or the box is of another object. */
  open(tenant: string, object: SealedObject, wrapped: Uint8Array): Promise<Secret>;
}

export function openObjectKeys(keys: TenantKeys, keyStore: Pick<TenantKeyStore, "holds">): ObjectKeys {
  return {
    async create(tenant, object) {
      const key = await keys.findOrCreate(tenant);
      // Under a key that was destroyed meanwhile the object would be lost as soon as it is sealed: better said now.
      if (!keyStore.holds(tenant, key.id)) throw fail("TENANT_SHREDDED", "the tenant was shredded meanwhile");
      return { ...makeObjectKey(key, object), tenantKeyId: key.id };
    },

    async open(tenant, { purpose, objectId }, wrapped) {
      const key = await keys.find(tenant);
      const metadata = { object: objectId };
      if (key === undefined) throw fail("TENANT_KEY_DESTROYED", "the tenant has no key", { metadata });
      try {
        return openObjectKey(key, { purpose, objectId }, wrapped);
      } catch (error) {
        if (error instanceof SealBrokenError) throw fail("SEAL_BROKEN", "a data key does not open", { metadata });
        throw error;
      }
    },
  };
}
