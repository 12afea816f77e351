import { createSecretKey, hkdfSync, type KeyObject, randomBytes } from "node:crypto";
import { open, SealBrokenError, seal } from "../envelope/sealed-box.ts";
import { fail } from "../errors.ts";
import { PrivateFileError } from "./private-file.ts";
import type { RootKeyProvider, WrappedKey, WrapTarget } from "./provider.ts";
import type { RootKey, RootKeySource } from "./root-key.ts";
import type { TenantShards } from "./tenant-shards.ts";

const tenantKeyBytes = 32;

/** Wraps in this process: under a root key and the tenant key's own shard, both read for each use and held by nobody. */
export function localRootKey(source: RootKeySource, shards: TenantShards): RootKeyProvider {
  function wrapUnder(root: RootKey, target: WrapTarget, key: Uint8Array): WrappedKey {
    return { rootKeyId: root.id, bytes: seal(wrappingKey(root, target), bindingOf(target, root.id), key) };
  }

  function wrappingKey(root: RootKey, { tenantKeyId }: WrapTarget): KeyObject {
    const shard = shards.read(tenantKeyId);
    if (shard === undefined) throw fail("TENANT_KEY_DESTROYED", "the tenant's key was destroyed");
    try {
      return deriveWrappingKey(root.key, shard);
    } finally {
      shard.fill(0);
    }
  }

  function unwrapNow(wrapped: WrappedKey, target: WrapTarget) {
    const { current, next } = source.read();
    const root = [current, next].find((key) => key?.id === wrapped.rootKeyId);
    if (root === undefined) {
      throw fail("ROOT_KEY_UNAVAILABLE", "the tenant's key was wrapped by another root key", {
        metadata: { wanted_root_key_id: wrapped.rootKeyId, root_key_id: current.id },
      });
    }
    try {
      return open(wrappingKey(root, target), bindingOf(target, root.id), wrapped.bytes);
    } catch (error) {
      if (error instanceof SealBrokenError) throw fail("SEAL_BROKEN", "a tenant's key does not unwrap");
      throw error;
    }
  }

  const newest = () => {
    const { current, next } = source.read();
    return next ?? current;
  };
  return {
    kind: source.kind,

    create: async (target) =>
      available(() => {
        const root = newest();
        // Random, never derived: a key that can be derived again cannot be destroyed.
        const key = randomBytes(tenantKeyBytes);
        try {
          shards.create(target.tenantKeyId).fill(0);
          return wrapUnder(root, target, key);
        } finally {
          key.fill(0);
        }
      }),

    unwrap: async (wrapped, target) => available(() => unwrapNow(wrapped, target)),

    destroy: async (tenantKeyId) => available(() => shards.destroy(tenantKeyId)),

    beginRotation: async () =>
      available(() => {
        source.makeNext();
        const { current, next } = source.read();
        return { previousRootKeyId: current.id, rootKeyId: (next ?? current).id };
      }),

    rewrap: async (wrapped, target) =>
      available(() => {
        using key = unwrapNow(wrapped, target);
        return key.use((bytes) => wrapUnder(newest(), target, bytes));
      }),

    finishRotation: async () => available(() => source.promoteNext()),

    async health() {
      try {
        shards.check();
        return { state: "ready", rootKeyId: available(newest).id };
      } catch (error) {
        const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
        if (!(cause instanceof PrivateFileError)) return { state: "unavailable", detail: "root key cannot be read" };
        return { state: cause.state === "unsafe" ? "unsafe" : "unavailable", detail: cause.message };
      }
    },
  };
}

/** The key that wraps one tenant key: nothing without either part, and another one for each shard. */
export function deriveWrappingKey(root: KeyObject, shard: Uint8Array): KeyObject {
  const bytes = new Uint8Array(hkdfSync("sha256", root, shard, "lobsterd.secrets.tenant-wrap.v1", 32));
  try {
    return createSecretKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

function available<T>(use: () => T): T {
  try {
    return use();
  } catch (error) {
    const isSystem = error instanceof Error && "syscall" in error;
    if (!(error instanceof PrivateFileError) && !isSystem) throw error;
    throw fail("ROOT_KEY_UNAVAILABLE", "the root key cannot be used", { cause: error });
  }
}

function bindingOf(target: WrapTarget, rootKeyId: string) {
  return {
    purpose: "tenant-key",
    tenant: target.tenant,
    object: target.tenantKeyId,
    version: 1,
    keyId: rootKeyId,
  } as const;
}
