import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { after, test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { Secret } from "@lobsterd/chassis/secret.ts";
import { fileRootKeys } from "../root-key/file-source.ts";
import { localRootKey } from "../root-key/local-provider.ts";
import { makeRootKey } from "../root-key/make-root-key.ts";
import { openTenantShards } from "../root-key/tenant-shards.ts";
import { openSecretDatabase } from "../store/database.ts";
import { openIdentityStore } from "../store/identity-store.ts";
import { openSecretStore } from "../store/secret-store.ts";
import { openTenantKeyStore } from "../store/tenant-key-store.ts";
import { openSealedSecrets } from "./sealed-secrets.ts";
import { shredder } from "./shredder.ts";
import { openTenantKeys } from "./tenant-keys.ts";

const directory = mkdtempSync(join(tmpdir(), "shred-"));
after(() => rmSync(directory, { recursive: true }));
makeRootKey(join(directory, "root.key"));
mkdirSync(join(directory, "tenants"), { mode: 0o700 });
const provider = localRootKey(fileRootKeys(join(directory, "root.key")), openTenantShards(join(directory, "tenants")));

function vault(database: DatabaseSync) {
  const now = () => 1;
  const keyStore = openTenantKeyStore(database);
  const secrets = openSecretStore(database);
  const identities = openIdentityStore(database);
  const keys = openTenantKeys(keyStore, provider, now);
  const sealed = openSealedSecrets({ database, keys, keyStore, secrets, now });
  const all = shredder({ database, keyStore, secrets, identities, now });
  return { keyStore, keys, secrets, identities, sealed, ...all };
}

const put = (parts: ReturnType<typeof vault>, tenant: string, name: string) =>
  parts.sealed.put(tenant, name, Secret.take(randomBytes(32)));

/** Bytes of the database and its companions, as a thief of the disk would read them. */
function onDisk(stateDir: string): Buffer {
  return Buffer.concat(readdirSync(stateDir).map((name) => readFileSync(join(stateDir, name))));
}

test("after a shred no wrapped key and no ciphertext of the tenant is on disk, and others are untouched", async () => {
  const stateDir = mkdtempSync(join(directory, "state-"));
  const database = openSecretDatabase(join(stateDir, "secrets.sqlite"));
  const parts = vault(database);
  for (const tenant of ["gone", "stays"]) for (const name of ["a", "b"]) await put(parts, tenant, name);
  for (const name of ["a", "b"]) await parts.sealed.bind("gone", name, { target: { kind: "file" }, label: undefined });
  (await parts.sealed.openGatewayToken("gone", "person")).destroy();
  const key = parts.keyStore.find("gone");
  assert.ok(key);
  const bound = ["a", "b"].flatMap((name) => {
    const sealed = parts.secrets.findSealed("gone", name);
    assert.ok(sealed);
    return [sealed.wrappedDataKey, sealed.ciphertext];
  });
  const token = parts.secrets.findToken("gone");
  assert.ok(token);
  const gone = [key.bytes, ...bound, token.wrappedDataKey, token.ciphertext].map((bytes) => Buffer.from(bytes));
  const before = onDisk(stateDir);
  for (const bytes of gone) assert.equal(before.includes(bytes), true, "the search finds what is there");

  const { tenantKeyId } = parts.shred("gone");
  assert.equal(tenantKeyId, key.id);
  const left = onDisk(stateDir);
  for (const bytes of gone) assert.equal(left.includes(bytes), false);
  assert.deepEqual(parts.sealed.list("gone", "", 10), []);
  assert.equal(parts.sealed.list("stays", "", 10).length, 2);
  assert.deepEqual(parts.shred("gone"), { tenantKeyId: undefined, vmIds: [] });
  assert.equal((await put(parts, "gone", "a")).version, 1);
  database.close();
});

test("a crash between the key and the rows leaves nothing that opens, and the next start removes the rows", async () => {
  const stateDir = mkdtempSync(join(directory, "state-"));
  const path = join(stateDir, "secrets.sqlite");
  const database = openSecretDatabase(path);
  const parts = vault(database);
  await put(parts, "crashed", "a");
  parts.keyStore.delete("crashed");
  database.close();
  const reopened = openSecretDatabase(path);
  assert.deepEqual(vault(reopened).sealed.list("crashed", "", 10), []);
  reopened.close();
});

test("a put that unwrapped the key before a shred does not write after it", async () => {
  const stateDir = mkdtempSync(join(directory, "state-"));
  const database = openSecretDatabase(join(stateDir, "secrets.sqlite"));
  const parts = vault(database);
  await put(parts, "raced", "a");
  const late = put(parts, "raced", "b");
  parts.shred("raced");
  assert.equal(await late.then(() => "stored", reasonOf), "TENANT_SHREDDED");
  assert.deepEqual(parts.sealed.list("raced", "", 10), []);
  database.close();
});

test("a shred of one microVM revokes its identity only", async () => {
  const stateDir = mkdtempSync(join(directory, "state-"));
  const database = openSecretDatabase(join(stateDir, "secrets.sqlite"));
  const parts = vault(database);
  await put(parts, "kept", "a");
  const issue = (tenant: string, vmId: string) =>
    parts.identities.write({
      ...{ tenant, vmId, generation: 1, serial: randomUUID() },
      ...{ issueTimeMs: 1, expireTimeMs: 2 },
    });
  issue("kept", "1");
  issue("kept", "2");
  issue("other", "3");
  assert.deepEqual(parts.identities.revoke("kept", "3"), []);
  assert.deepEqual(parts.identities.revoke("kept", "1"), ["1"]);
  assert.deepEqual(parts.identities.find("1"), undefined);
  assert.equal(parts.identities.find("2")?.tenant, "kept");
  assert.deepEqual(parts.shred("kept").vmIds, ["2"]);
  assert.equal(parts.identities.find("3")?.tenant, "other");
  database.close();
});

test("a key that somebody misses stays: with a secret, a token that was told, or another microVM", async () => {
  const database = openSecretDatabase(join(mkdtempSync(join(directory, "state-")), "secrets.sqlite"));
  const parts = vault(database);
  const hasKey = (tenant: string) => parts.keyStore.find(tenant) !== undefined;
  await put(parts, "secret", "a");
  (await parts.sealed.openGatewayToken("told", "guest")).destroy();
  (await parts.sealed.openGatewayToken("told", "person")).destroy();
  await parts.keys.findOrCreate("runs");
  parts.identities.write({
    ...{ tenant: "runs", vmId: "4", generation: 1, serial: randomUUID() },
    ...{ issueTimeMs: 1, expireTimeMs: 2 },
  });
  for (const tenant of ["secret", "told", "runs"]) {
    assert.equal(parts.shredUnused(tenant), undefined);
    assert.ok(hasKey(tenant), tenant);
  }
  (await parts.sealed.openGatewayToken("unused", "guest")).destroy();
  assert.notEqual(parts.shredUnused("unused")?.tenantKeyId, undefined);
  assert.deepEqual([hasKey("unused"), parts.secrets.findToken("unused")], [false, undefined]);
  parts.sealed.delete("secret", "a");
  assert.notEqual(parts.shredUnused("secret")?.tenantKeyId, undefined);
  database.close();
});
