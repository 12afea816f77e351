import { createSecretKey, randomBytes } from "node:crypto";
import { newKeyId, type TenantKey } from "../envelope/sealed-value.ts";
import { fail } from "../errors.ts";
import type { RootKeyProvider } from "../root-key/provider.ts";
import type { StoredTenantKey, TenantKeyStore } from "../store/tenant-key-store.ts";

const tenantKeyBytes = 32;

/** Unwrapped tenant keys, one call each: none is cached, so a destroyed key is gone with its row. */
export interface TenantKeys {
  find(tenant: string): Promise<TenantKey | undefined>;
  findOrCreate(tenant: string): Promise<TenantKey>;
}

/** Both throw ROOT_KEY_UNAVAILABLE when the provider cannot be used, and SEAL_BROKEN when the stored key does not unwrap. */
export function openTenantKeys(store: TenantKeyStore, provider: RootKeyProvider, now: () => number): TenantKeys {
  async function unwrap(tenant: string, stored: StoredTenantKey): Promise<TenantKey> {
    using bytes = await provider.unwrap(stored, { tenant, tenantKeyId: stored.id });
    return { id: stored.id, tenant, key: bytes.use((key) => createSecretKey(key)) };
  }

  // Random, never derived from the root key: a key that can be derived again cannot be destroyed.
  async function create(tenant: string): Promise<void> {
    const id = newKeyId();
    const bytes = randomBytes(tenantKeyBytes);
    try {
      store.insert(tenant, { id, ...(await provider.wrap(bytes, { tenant, tenantKeyId: id })) }, now());
    } finally {
      bytes.fill(0);
    }
  }

  return {
    async find(tenant) {
      const stored = store.find(tenant);
      return stored === undefined ? undefined : await unwrap(tenant, stored);
    },

    async findOrCreate(tenant) {
      // Of parallel first uses one insert wins, and all read that one back.
      if (store.find(tenant) === undefined) await create(tenant);
      const stored = store.find(tenant);
      if (stored === undefined) throw fail("TENANT_SHREDDED", "the tenant was shredded meanwhile");
      return await unwrap(tenant, stored);
    },
  };
}
