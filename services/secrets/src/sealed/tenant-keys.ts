import { createSecretKey } from "node:crypto";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { newKeyId, type TenantKey } from "../envelope/sealed-value.ts";
import { fail } from "../errors.ts";
import type { RootKeyProvider } from "../root-key/provider.ts";
import type { TenantKeyStore } from "../store/tenant-key-store.ts";

/** Unwrapped tenant keys, one call each: none is cached, so a destroyed key is gone with its row. */
export interface TenantKeys {
  find(tenant: string): Promise<TenantKey | undefined>;
  findOrCreate(tenant: string): Promise<TenantKey>;
  /** Resolves when no key is being made that was begun before this call: what is made after is under the newest root key. */
  settled(): Promise<void>;
}

/**
 * `find` and `findOrCreate` throw ROOT_KEY_UNAVAILABLE when the provider cannot be used, SEAL_BROKEN when the stored key does not unwrap, and
 * TENANT_KEY_DESTROYED when the store is a copy from before a shred.
 */
export function openTenantKeys(store: TenantKeyStore, provider: RootKeyProvider, now: () => number): TenantKeys {
  const creations = new Set<Promise<void>>();

  async function unwrap(tenant: string): Promise<TenantKey | undefined> {
    const stored = store.find(tenant);
    if (stored === undefined) return undefined;
    try {
      using bytes = await provider.unwrap(stored, { tenant, tenantKeyId: stored.id });
      return { id: stored.id, tenant, key: bytes.use((key) => createSecretKey(key)) };
    } catch (error) {
      // A rotation may have retired the root key between the row and the provider; the row names the new one by now.
      const isRewrapped = store.find(tenant)?.rootKeyId !== stored.rootKeyId;
      if (reasonOf(error) === "ROOT_KEY_UNAVAILABLE" && isRewrapped) return await unwrap(tenant);
      throw error;
    }
  }

  async function create(tenant: string): Promise<void> {
    const id = newKeyId();
    const wrapped = await provider.create({ tenant, tenantKeyId: id });
    // Of parallel first uses one wins; the provider need not keep anything of the others.
    if (!store.insert(tenant, { id, ...wrapped }, now())) await provider.destroy(id);
  }

  return {
    find: unwrap,

    async findOrCreate(tenant) {
      if (store.find(tenant) === undefined) {
        const creation = create(tenant);
        const ended = creation.catch(() => undefined).finally(() => creations.delete(ended));
        creations.add(ended);
        await creation;
      }
      const key = await unwrap(tenant);
      if (key === undefined) throw fail("TENANT_SHREDDED", "the tenant was shredded meanwhile");
      return key;
    },

    async settled() {
      await Promise.all(creations);
    },
  };
}
