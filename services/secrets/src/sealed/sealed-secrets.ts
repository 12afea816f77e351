import { randomBytes } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { Secret } from "@lobsterd/chassis/secret.ts";
import { transaction } from "@lobsterd/chassis/sqlite.ts";
import { boxOverheadBytes, SealBrokenError } from "../envelope/sealed-box.ts";
import { fingerprint, openValue, type SealedValue, sealValue, type TenantKey } from "../envelope/sealed-value.ts";
import { fail } from "../errors.ts";
import { emptyWriteAheadLog } from "../store/database.ts";
import type { BoundSecret, Label, SecretRecord, SecretStore } from "../store/secret-store.ts";
import type { TenantKeyStore } from "../store/tenant-key-store.ts";
import { guestSet, type Labels } from "./guest-set.ts";
import { gatewayTokenName, maxBoundSecrets, maxBoxBytes, maxSecrets, refuseReserved } from "./limits.ts";
import { collide, needsText, refuseBinary, refuseReservedTarget, type Target } from "./targets.ts";
import type { TenantKeys } from "./tenant-keys.ts";

/** A secret opened for delivery; whoever gets it destroys `value`. */
export interface OpenedSecret {
  /** The tenant, or `""` for a shared secret. */
  readonly owner: string;
  readonly name: string;
  readonly version: number;
  readonly target: Target;
  readonly value: Secret;
}

/** Where a secret goes; a shared one also to whom. */
export interface Binding {
  readonly target: Target;
  readonly label: Label | undefined;
}

/**
 * The sealed secrets of all tenants, and the shared ones, whose tenant is `""`. Every method takes the tenant first; what it reads beside
 * that tenant's are shared secrets for the labels it is given.
 */
export interface SealedSecrets {
  /** Seals a new version, from 1. Throws RESERVED_NAME, SECRET_LIMIT, SECRET_SIZE_LIMIT, VALUE_NOT_TEXT, ROOT_KEY_UNAVAILABLE. */
  put(tenant: string, name: string, value: Secret): Promise<SecretRecord>;
  /** Equal for equal values of one tenant and useless without its key. */
  fingerprint(tenant: string, value: Secret): Promise<Buffer>;
  /** Throws SECRET_NOT_FOUND, SECRET_LIMIT, TARGET_RESERVED, TARGET_TAKEN, or VALUE_NOT_TEXT for a value that does not fit there. */
  bind(tenant: string, name: string, binding: Binding): Promise<SecretRecord>;
  /** Destroys a secret and its binding. Throws SECRET_NOT_FOUND. */
  delete(tenant: string, name: string): void;
  list(tenant: string, afterName: string, limit: number): SecretRecord[];
  /** What a guest of the tenant has to have, by name. Throws TARGET_TAKEN, SECRET_LIMIT or SECRET_SIZE_LIMIT. */
  listForGuest(tenant: string, labels: Labels): BoundSecret[];
  /** The same, opened. */
  openForGuest(tenant: string, labels: Labels): Promise<OpenedSecret[]>;
  /** The gateway's token, made at first use: 32 random bytes as base64url without padding. What a person is told is noted. */
  openGatewayToken(tenant: string, reader: "guest" | "person"): Promise<Secret>;
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

  function requireSecret(tenant: string, name: string): SecretRecord {
    const known = secrets.find(tenant, name);
    if (known === undefined) throw notFound(tenant, name);
    return known;
  }

  function refuseTakenPlace(tenant: string, name: string, { target, label }: Binding): void {
    const sameGuests = (other: BoundSecret) => other.label?.key === label?.key && other.label?.value === label?.value;
    const taken = secrets
      .listBound(tenant)
      .find((other) => other.name !== name && sameGuests(other) && collide(other, { name, target }));
    if (taken === undefined) return;
    throw fail("TARGET_TAKEN", "another secret goes to this place", { metadata: { other_secret_name: taken.name } });
  }

  function listForGuest(tenant: string, labels: Labels): BoundSecret[] {
    return guestSet(secrets.listBound(tenant), secrets.listBound(""), labels);
  }

  function openVersion(key: TenantKey | undefined, { tenant, name, version }: SecretRecord): Secret {
    const sealed = secrets.findSealed(tenant, name);
    if (sealed === undefined) throw notFound(tenant, name);
    return openStored(key, { purpose: "secret-value", object: name, version }, sealed);
  }

  return {
    async put(tenant, name, value) {
      refuseReserved(name);
      const key = await keys.findOrCreate(tenant);
      return writeUnder(key, () => {
        const known = secrets.find(tenant, name);
        if (known?.target !== undefined && needsText(known.target)) value.use(refuseBinary);
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

    async bind(tenant, name, binding) {
      refuseReserved(name);
      refuseReservedTarget(binding.target);
      requireSecret(tenant, name);
      const key = needsText(binding.target) ? await keys.find(tenant) : undefined;
      return transaction(database, () => {
        const known = requireSecret(tenant, name);
        if (needsText(binding.target)) {
          using value = openVersion(key, known);
          value.use(refuseBinary);
        }
        refuseTakenPlace(tenant, name, binding);
        if (known.target === undefined && secrets.usage(tenant).boundCount >= maxBoundSecrets) {
          throw fail("SECRET_LIMIT", `a tenant has at most ${maxBoundSecrets} bound secrets`, {
            metadata: { limit: `${maxBoundSecrets}` },
          });
        }
        return secrets.bind({ tenant, name, ...binding }, now()) ?? known;
      });
    },

    delete(tenant, name) {
      if (!secrets.delete(tenant, name)) throw notFound(tenant, name);
      emptyWriteAheadLog(database);
    },

    list: (tenant, afterName, limit) => secrets.list(tenant, afterName, limit),

    listForGuest,

    async openForGuest(tenant, labels) {
      const ownKey = await keys.find(tenant);
      const hasShared = listForGuest(tenant, labels).some((secret) => secret.tenant === "");
      const sharedKey = hasShared ? await keys.find("") : undefined;
      const opened: OpenedSecret[] = [];
      try {
        // Listed after the last wait, so that no secret changes between its listing and its opening.
        for (const secret of listForGuest(tenant, labels)) {
          const { tenant: owner, name, version, target } = secret;
          opened.push({ owner, name, version, target, value: openVersion(owner === "" ? sharedKey : ownKey, secret) });
        }
        return opened;
      } catch (error) {
        for (const { value } of opened) value.destroy();
        throw error;
      }
    },

    async openGatewayToken(tenant, reader) {
      const key = await keys.findOrCreate(tenant);
      return writeUnder(key, () => {
        const identity = { purpose: "gateway-token", object: gatewayTokenName, version: 1 } as const;
        const stored = secrets.findToken(tenant);
        const token = stored === undefined ? makeToken() : openStored(key, identity, stored);
        if (stored === undefined) secrets.writeToken(tenant, sealValue(key, identity, token), now());
        if (reader === "person") secrets.markTokenTold(tenant);
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
