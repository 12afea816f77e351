import { randomBytes } from "node:crypto";
import { Secret } from "@lobsterd/chassis/secret.ts";
import type { Binding } from "./binding.ts";
import { open, seal } from "./sealed-box.ts";
import type { TenantKey } from "./sealed-value.ts";

/** One object that another service seals outside this store: what the key is for is part of what it is bound to. */
export interface SealedObject {
  readonly purpose: "snapshot-key" | "backup-key" | "disk-key";
  readonly objectId: string;
}

/** A random 256-bit key, and the same key as only this tenant's key opens it, for this object. */
export interface ObjectKey {
  readonly plaintext: Secret;
  readonly wrapped: Uint8Array;
}

/** Makes the key of one object. The caller destroys `plaintext`. */
export function makeObjectKey(tenantKey: TenantKey, object: SealedObject): ObjectKey {
  const bytes = randomBytes(32);
  try {
    return { wrapped: seal(tenantKey.key, bindingOf(tenantKey, object), bytes), plaintext: Secret.take(bytes) };
  } finally {
    bytes.fill(0);
  }
}

/** Opens what `makeObjectKey` wrapped. Throws `SealBrokenError` for any other tenant, object, purpose or key. */
export function openObjectKey(tenantKey: TenantKey, object: SealedObject, wrapped: Uint8Array): Secret {
  return open(tenantKey.key, bindingOf(tenantKey, object), wrapped);
}

function bindingOf({ id, tenant }: TenantKey, { purpose, objectId }: SealedObject): Binding {
  return { purpose, tenant, object: objectId, version: 1, keyId: id };
}
