import { createHmac, createSecretKey, hkdfSync, type KeyObject, randomBytes } from "node:crypto";
import type { Secret } from "@lobsterd/chassis/secret.ts";
import { open, seal } from "./sealed-box.ts";

/** The unwrapped key of one tenant, in native memory. */
export interface TenantKey {
  readonly id: string;
  readonly tenant: string;
  readonly key: KeyObject;
}

/** A value under a data key of its own, and that data key under the tenant's key. */
export interface SealedValue {
  readonly tenantKeyId: string;
  readonly dataKeyId: string;
  readonly wrappedDataKey: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** What a value is: bound into both boxes. */
export interface ValueIdentity {
  readonly purpose: "secret-value" | "gateway-token";
  readonly object: string;
  readonly version: number;
}

/** Seals `value` with a fresh data key. */
export function sealValue(tenantKey: TenantKey, identity: ValueIdentity, value: Secret): SealedValue {
  const dataKeyId = newKeyId();
  const bytes = randomBytes(32);
  try {
    const dataKey = createSecretKey(bytes);
    return {
      tenantKeyId: tenantKey.id,
      dataKeyId,
      wrappedDataKey: seal(tenantKey.key, dataKeyBinding(tenantKey, identity, dataKeyId), bytes),
      ciphertext: value.use((plaintext) => seal(dataKey, valueBinding(tenantKey, identity, dataKeyId), plaintext)),
    };
  } finally {
    bytes.fill(0);
  }
}

/** Opens what `sealValue` made. Throws `SealBrokenError` for any other tenant, object, version, purpose or key. */
export function openValue(tenantKey: TenantKey, identity: ValueIdentity, sealed: SealedValue): Secret {
  const wrapped = dataKeyBinding(tenantKey, identity, sealed.dataKeyId);
  using dataKeyBytes = open(tenantKey.key, wrapped, sealed.wrappedDataKey);
  const dataKey = dataKeyBytes.use((bytes) => createSecretKey(bytes));
  return open(dataKey, valueBinding(tenantKey, identity, sealed.dataKeyId), sealed.ciphertext);
}

/**
 * A 32-byte mark of `value` under the tenant's key: equal for equal values, and worth nothing to a reader of the store, who
 * could try candidates against a plain digest.
 */
export function fingerprint(tenantKey: TenantKey, value: Secret): Buffer {
  const key = Buffer.from(hkdfSync("sha256", tenantKey.key, Buffer.alloc(0), "lobsterd.secrets.fingerprint.v1", 32));
  try {
    return value.use((bytes) => createHmac("sha256", key).update(bytes).digest());
  } finally {
    key.fill(0);
  }
}

/** A random key id of 32 hexadecimal digits. */
export function newKeyId(): string {
  return randomBytes(16).toString("hex");
}

// The data key's id is part of the object, so that wrapped keys of one secret cannot trade places across writes.
function dataKeyBinding(tenantKey: TenantKey, identity: ValueIdentity, dataKeyId: string) {
  return {
    purpose: "data-key",
    tenant: tenantKey.tenant,
    object: `${identity.purpose}/${identity.object}/${dataKeyId}`,
    version: identity.version,
    keyId: tenantKey.id,
  } as const;
}

function valueBinding(tenantKey: TenantKey, identity: ValueIdentity, dataKeyId: string) {
  return { ...identity, tenant: tenantKey.tenant, keyId: dataKeyId } as const;
}
