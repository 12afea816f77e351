import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { Secret } from "@lobsterd/chassis/secret.ts";
import { z } from "zod";
import { encodeBinding } from "../envelope/binding.ts";
import { fail } from "../errors.ts";
import type { RootKeyProvider, WrappedKey, WrapTarget } from "./provider.ts";
import { type VaultClient, VaultRefusal } from "./vault-client.ts";

const tenantKeyBytes = 32;
const ciphertextForm = /^vault:v[0-9]{1,9}:[A-Za-z0-9+/=]{16,8192}$/;
const ciphertextSchema = z.object({ ciphertext: z.string().regex(ciphertextForm) });
const plaintextSchema = z.object({ plaintext: z.string().regex(/^[A-Za-z0-9+/=]{4,8192}$/) });
const keySchema = z.object({
  latest_version: z.number().int().min(1),
  keys: z.record(z.string(), z.union([z.number(), z.string(), z.object({ creation_time: z.string() })])),
});

/**
 * The transit engine of Vault or OpenBao. The root key is the transit key `keyName`; each tenant key has a transit key of its own,
 * `<keyName>-<tenantKeyId>`, which makes it (`datakey/wrapped`) and can be destroyed. What is stored here is the tenant key under its own
 * transit key, and that under the root key, so that a rotation rewraps the outer one only.
 *
 * 1. Both are derived keys, and their context is tenant, key id and purpose: another tenant's does not decrypt.
 * 2. `destroy` allows the deletion first, deletes, and asks whether the key is gone: a key without `deletion_allowed` refuses, and a deletion
 *    that can be undone is none.
 * 3. Nothing here encrypts under a tenant's transit key after it was made: `encrypt` makes a key that is missing, `datakey` does not.
 */
export function vaultRootKey(client: VaultClient, names: { mount: string; keyName: string }): RootKeyProvider {
  const { mount, keyName } = names;
  const tenantName = (tenantKeyId: string) => `${keyName}-${tenantKeyId}`;
  const contextOf = ({ tenant, tenantKeyId }: WrapTarget) =>
    encodeBinding({ purpose: "tenant-key", tenant, object: tenantKeyId, version: 1, keyId: keyName }).toString(
      "base64",
    );
  const post = (path: string, body: Readonly<Record<string, unknown>>) => client.call("POST", `${mount}/${path}`, body);

  /** Name, version and time of making: a key that was deleted and made again has the same name and version. */
  async function rootKeyId(version?: number): Promise<string> {
    const { latest_version: latest, keys } = keySchema.parse(await client.call("GET", `${mount}/keys/${keyName}`));
    const made = keys[`${version ?? latest}`];
    if (made === undefined) throw fail("ROOT_KEY_UNAVAILABLE", "the key server has not this version of the root key");
    return `vault:${keyName}:v${version ?? latest}:${typeof made === "object" ? made.creation_time : made}`;
  }

  async function wrapped(ciphertext: string): Promise<WrappedKey> {
    return { rootKeyId: await rootKeyId(versionOf(ciphertext)), bytes: Buffer.from(ciphertext, "latin1") };
  }

  async function create(target: WrapTarget): Promise<WrappedKey> {
    const name = tenantName(target.tenantKeyId);
    const context = contextOf(target);
    await post(`keys/${name}`, { type: "aes256-gcm96", derived: true });
    const made = await post(`datakey/wrapped/${name}`, { context, bits: 8 * tenantKeyBytes });
    const inner = ciphertextSchema.parse(made).ciphertext;
    const sealed = await post(`encrypt/${keyName}`, {
      plaintext: Buffer.from(inner, "latin1").toString("base64"),
      context,
    });
    return await wrapped(ciphertextSchema.parse(sealed).ciphertext);
  }

  async function unwrap({ rootKeyId: wantedId, bytes }: WrappedKey, target: WrapTarget): Promise<Secret> {
    const context = contextOf(target);
    const ciphertext = Buffer.from(bytes).toString("latin1");
    if (!ciphertextForm.test(ciphertext)) throw fail("SEAL_BROKEN", "a tenant's key does not unwrap");
    const outer = await post(`decrypt/${keyName}`, { ciphertext, context }).catch(async (error: unknown) => {
      // The same name with another key inside refuses as a changed ciphertext does.
      if (error instanceof VaultRefusal && (await rootKeyId(versionOf(ciphertext))) !== wantedId) {
        throw fail("ROOT_KEY_UNAVAILABLE", "the tenant's key was wrapped by another root key");
      }
      throw error;
    });
    const inner = Buffer.from(plaintextSchema.parse(outer).plaintext, "base64").toString("latin1");
    const answer = await post(`decrypt/${tenantName(target.tenantKeyId)}`, { ciphertext: inner, context }).catch(
      (error: unknown) => {
        if (isMissingKey(error)) throw fail("TENANT_KEY_DESTROYED", "the tenant's key was destroyed");
        throw error;
      },
    );
    const key = Buffer.from(plaintextSchema.parse(answer).plaintext, "base64");
    if (key.length !== tenantKeyBytes) throw fail("SEAL_BROKEN", "a tenant's key does not unwrap");
    return Secret.take(key);
  }

  async function destroy(tenantKeyId: string): Promise<void> {
    const path = `keys/${tenantName(tenantKeyId)}`;
    try {
      await post(`${path}/config`, { deletion_allowed: true });
      await client.call("DELETE", `${mount}/${path}`);
    } catch (error) {
      if (!isMissingKey(error)) throw error;
    }
    if (await exists(path)) throw fail("ROOT_KEY_UNAVAILABLE", "the key server did not destroy a tenant's key");
  }

  async function exists(path: string): Promise<boolean> {
    try {
      await client.call("GET", `${mount}/${path}`);
      return true;
    } catch (error) {
      if (error instanceof VaultRefusal && error.status === 404) return false;
      throw error;
    }
  }

  async function finishRotation(): Promise<void> {
    const { latest_version: latest } = keySchema.parse(await client.call("GET", `${mount}/keys/${keyName}`));
    await post(`keys/${keyName}/config`, { min_decryption_version: latest, min_encryption_version: latest });
  }

  return {
    kind: "vault-transit",
    create: (target) => translated("unwrap", create(target)),
    unwrap: (key, target) => translated("unwrap", unwrap(key, target)),
    destroy: (tenantKeyId) => translated("use", destroy(tenantKeyId)),
    beginRotation: () =>
      translated(
        "use",
        (async () => {
          const previousRootKeyId = await rootKeyId();
          await post(`keys/${keyName}/rotate`, {});
          return { previousRootKeyId, rootKeyId: await rootKeyId() };
        })(),
      ),
    rewrap: (key, target) =>
      translated(
        "unwrap",
        (async () => {
          const ciphertext = Buffer.from(key.bytes).toString("latin1");
          const answer = await post(`rewrap/${keyName}`, { ciphertext, context: contextOf(target) });
          return await wrapped(ciphertextSchema.parse(answer).ciphertext);
        })(),
      ),
    finishRotation: () => translated("use", finishRotation()),
    async health() {
      try {
        return { state: "ready", rootKeyId: await rootKeyId() };
      } catch (error) {
        const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
        const detail = cause instanceof Error ? cause.message : "unknown failure";
        const isUnsafe = cause instanceof Error && "state" in cause && cause.state === "unsafe";
        return { state: isUnsafe ? "unsafe" : "unavailable", detail };
      }
    },
  };
}

function versionOf(ciphertext: string): number {
  return Number(/^vault:v([0-9]{1,9}):/.exec(ciphertext)?.[1] ?? 0);
}

/** The one place that knows the server's words: a key that is not there is 404 when read, and 400 with these words when used. */
function isMissingKey(error: unknown): boolean {
  if (!(error instanceof VaultRefusal)) return false;
  return error.status === 404 || /key not found|no existing key named|policy not found/i.test(error.message);
}

/** A refusal of what was wrapped is a broken seal; of anything else, or an answer of another form, a server that cannot be used. */
async function translated<T>(what: "unwrap" | "use", result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (error) {
    if (reasonOf(error) !== undefined) throw error;
    if (error instanceof VaultRefusal) {
      const isBroken =
        what === "unwrap" && !isMissingKey(error) && !/disallowed by policy|too old/i.test(error.message);
      if (isBroken) throw fail("SEAL_BROKEN", "a tenant's key does not unwrap");
      throw fail("ROOT_KEY_UNAVAILABLE", "the key server refuses", {
        metadata: { status: `${error.status}` },
        cause: error,
      });
    }
    if (error instanceof z.ZodError) throw fail("ROOT_KEY_UNAVAILABLE", "the key server's answer is not the API's");
    throw error;
  }
}
