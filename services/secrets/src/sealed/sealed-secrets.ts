import { randomBytes } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { Secret } from "@lobsterd/chassis/secret.ts";
import { transaction } from "@lobsterd/chassis/sqlite.ts";
import { boxOverheadBytes, SealBrokenError } from "../envelope/sealed-box.ts";
import { fingerprint, openValue, type SealedValue, sealValue, type TenantKey } from "../envelope/sealed-value.ts";
import { fail } from "../errors.ts";
import type { SecretRecord, SecretStore, Target } from "../store/secret-store.ts";
import type { TenantKeyStore } from "../store/tenant-key-store.ts";
import { gatewayTokenName, maxBoundSecrets, maxBoxBytes, maxSecrets, refuseReserved } from "./limits.ts";
import type { TenantKeys } from "./tenant-keys.ts";

/** A secret opened for delivery; whoever gets it destroys `value`. */
export interface OpenedSecret {
  readonly name: string;
  readonly version: number;
  readonly value: Secret;
}

/** The sealed secrets of all tenants. Every method takes the tenant first and reads nothing of another one. */
export interface SealedSecrets {
  /** Seals a new version, from 1. Throws RESERVED_NAME, SECRET_LIMIT, SECRET_SIZE_LIMIT, ROOT_KEY_UNAVAILABLE. */
  put(tenant: string, name: string, value: Secret): Promise<SecretRecord>;
  /** Equal for equal values of one tenant and useless without its key. */
  fingerprint(tenant: string, value: Secret): Promise<Buffer>;
  bind(tenant: string, name: string, target: Target): SecretRecord;
  list(tenant: string, afterName: string, limit: number): SecretRecord[];
  /** Every bound secret, by name. */
  openBound(tenant: string): Promise<OpenedSecret[]>;
  /** The gateway's token, made at first use: 32 random bytes as base64url without padding. */
  openGatewayToken(tenant: string): Promise<Secret>;
}

interface Parts {
  readonly database: DatabaseSync;
  readonly keys: TenantKeys;
  readonly keyStore: TenantKeyStore;
  readonly secrets: SecretStore;
  readonly now: () => number;
}

export function openSealedSecrets({ database, keys, keyStore, secrets, now }: Parts): SealedSecrets {
  /** Runs `fn` in one transaction in which the tenant's key is still `key`: a shred may have come between unwrap and write. */
  function writeUnder<T>(key: TenantKey, fn: () => T): T {
    return transaction(database, () => {
      if (!keyStore.holds(key.tenant, key.id)) throw fail("TENANT_SHREDDED", "the tenant was shredded meanwhile");
      return fn();
    });
  }

  function refuseBeyondLimits(tenant: string, known: SecretRecord | undefined, valueBytes: number): void {
    const { count, boxBytes } = secrets.usage(tenant);
    if (known === undefined && count >= maxSecrets) {
      throw fail("SECRET_LIMIT", `a tenant has at most ${maxSecrets} secrets`, {
        metadata: { limit: `${maxSecrets}` },
      });
    }
    // The version that is replaced still counts: the bound need not be exact, and it is never passed.
    if (boxBytes + boxOverheadBytes + valueBytes > maxBoxBytes) {
      throw fail("SECRET_SIZE_LIMIT", `a tenant's secrets have at most ${maxBoxBytes} bytes together`);
    }
  }

  return {
    async put(tenant, name, value) {
      refuseReserved(name);
      const key = await keys.findOrCreate(tenant);
      return writeUnder(key, () => {
        const known = secrets.find(tenant, name);
        refuseBeyondLimits(
          tenant,
          known,
          value.use((bytes) => bytes.length),
        );
        const version = (known?.version ?? 0) + 1;
        const sealed = sealValue(key, { purpose: "secret-value", object: name, version }, value);
        return secrets.write({ tenant, name, version }, sealed, now());
      });
    },

    async fingerprint(tenant, value) {
      return fingerprint(await keys.findOrCreate(tenant), value);
    },

    bind(tenant, name, target) {
      refuseReserved(name);
      return transaction(database, () => {
        const known = secrets.find(tenant, name);
        if (known === undefined) throw notFound(tenant, name);
        if (known.target === undefined && secrets.usage(tenant).boundCount >= maxBoundSecrets) {
          throw fail("SECRET_LIMIT", `a tenant has at most ${maxBoundSecrets} bound secrets`, {
            metadata: { limit: `${maxBoundSecrets}` },
          });
        }
        const bound = secrets.bind(tenant, name, target, now());
        if (bound === undefined) throw notFound(tenant, name);
        return bound;
      });
    },

    list: (tenant, afterName, limit) => secrets.list(tenant, afterName, limit),

    async openBound(tenant) {
      const key = await keys.find(tenant);
      const opened: OpenedSecret[] = [];
      try {
        for (const { name, version, sealed } of secrets.listBound(tenant)) {
          const value = openStored(key, { purpose: "secret-value", object: name, version }, sealed);
          opened.push({ name, version, value });
        }
        return opened;
      } catch (error) {
        for (const { value } of opened) value.destroy();
        throw error;
      }
    },

    async openGatewayToken(tenant) {
      const key = await keys.findOrCreate(tenant);
      return writeUnder(key, () => {
        const identity = { purpose: "gateway-token", object: gatewayTokenName, version: 1 } as const;
        const stored = secrets.findToken(tenant);
        if (stored !== undefined) return openStored(key, identity, stored);
        const token = makeToken();
        secrets.writeToken(tenant, sealValue(key, identity, token), now());
        return token;
      });
    },
  };
}

function openStored(
  key: TenantKey | undefined,
  identity: Parameters<typeof openValue>[1],
  sealed: SealedValue,
): Secret {
  // A row sealed under a key that is gone is a tenant that was shredded while this call ran.
  if (key === undefined || key.id !== sealed.tenantKeyId)
    throw fail("TENANT_SHREDDED", "the tenant was shredded meanwhile");
  try {
    return openValue(key, identity, sealed);
  } catch (error) {
    if (error instanceof SealBrokenError) {
      throw fail("SEAL_BROKEN", "a sealed value does not open", { metadata: { object: identity.object } });
    }
    throw error;
  }
}

function makeToken(): Secret {
  const random = randomBytes(32);
  try {
    // The one place where a value is a string for a moment: a token is text by definition.
    return Secret.take(Buffer.from(random.toString("base64url"), "latin1"));
  } finally {
    random.fill(0);
  }
}

function notFound(tenant: string, name: string) {
  return fail("SECRET_NOT_FOUND", "the tenant has no secret of this name", { metadata: { tenant, name } });
}
