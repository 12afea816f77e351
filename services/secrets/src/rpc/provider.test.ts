import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { cpSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import { guestAgent } from "../testing/guest-agent.ts";
import { acquireLease, inject, injectLeased, issuedLeaf, newGuest, putBound, reasonFrom } from "../testing/guests.ts";
import { type RunningService, runningService } from "../testing/running-service.ts";
import { type VaultServer, vaultServer } from "../testing/vault-server.ts";

const limits = { timeoutMs: 30_000, intervalMs: 20 };
const directory = mkdtempSync(join(tmpdir(), "provider-"));
let vault: VaultServer;
let service: RunningService;
before(async () => {
  const authority = testCertificates(join(directory, "vault"));
  const token = `hvs.test-${randomBytes(16).toString("hex")}`;
  const tokenPath = join(directory, "token");
  writeFileSync(tokenPath, token, { mode: 0o400 });
  vault = await vaultServer({ ...authority.issue("vault", []), token });
  vault.makeKey("lobsterd");
  service = await runningService({
    rootKey: {
      ...{ kind: "vault-transit", address: vault.address, caPath: authority.caPath, tokenPath, keyName: "lobsterd" },
      timeoutMs: 2000,
    },
  });
});
after(async () => {
  await service?.close();
  await vault?.close();
  rmSync(directory, { recursive: true });
});

const put = (tenant: string, value: string) =>
  service
    .as("operator")
    .putSecret({ requestId: randomUUID(), tenant, name: "k", value: { value: Buffer.from(value) } });
const rotateRootKey = (caller: "operator" | "viewer" | "vm" = "operator") =>
  service.as(caller).rotateRootKey({ requestId: randomUUID() });
const shred = (tenant: string) => service.as("vm").shredTenant({ requestId: randomUUID(), tenant });

function destroyedKeys(tenant: string): string[] {
  return service.audit.entries
    .filter((entry) => entry.action === "KeyDestroyed" && entry.tenant === tenant && entry.phase === "outcome")
    .map(({ resource, reason }) => `${reason} ${resource}`);
}

test("with Vault down what needs a value is UNAVAILABLE, running guests keep theirs, and it heals by itself", async () => {
  await putBound(service, "down", "k", "one");
  const running = newGuest("down");
  const agent = await guestAgent(service, "127.0.4.1", await issuedLeaf(service, running));
  await inject(service, running, "127.0.4.1");
  const starting = newGuest("down");
  const starter = await guestAgent(service, "127.0.4.2", await issuedLeaf(service, starting));
  await acquireLease(service, starting);
  try {
    vault.fault = { status: 503, body: JSON.stringify({ errors: ["Vault is sealed"] }) };
    assert.equal(await reasonFrom(put("down", "two")), "ROOT_KEY_UNAVAILABLE");
    assert.equal(await reasonFrom(injectLeased(service, starting, "127.0.4.2")), "ROOT_KEY_UNAVAILABLE");
    assert.equal(await reasonFrom(rotateRootKey()), "ROOT_KEY_UNAVAILABLE");
    assert.equal((await service.as("viewer").listSecrets({ tenant: "down" })).secrets.length, 1);
    assert.equal(agent.received.length, 1, "the running guest is left alone");
    assert.deepEqual(starter.received, []);
    vault.fault = undefined;
    assert.equal(await reasonFrom(injectLeased(service, starting, "127.0.4.2")), "OK", "the lease was not used up");
    assert.equal(await reasonFrom(put("down", "two")), "OK");
    await waitFor("rotation", async () => (agent.received.at(-1)?.[0]?.value === "two" ? true : undefined), limits);
  } finally {
    vault.fault = undefined;
    await agent.close();
    await starter.close();
  }
});

test("an eviction while Vault is down is not held up, and the key is destroyed there when it is back", async () => {
  await put("evicted", "value");
  const keysBefore = vault.keys.size;
  vault.fault = { status: 503, body: JSON.stringify({ errors: ["Vault is sealed"] }) };
  await shred("evicted");
  assert.deepEqual((await service.as("viewer").listSecrets({ tenant: "evicted" })).secrets, []);
  assert.deepEqual(destroyedKeys("evicted"), [], "not said before it is so");
  vault.fault = undefined;
  await service.restart();
  await waitFor("the key to be destroyed", async () => (vault.keys.size < keysBefore ? true : undefined), limits);
  await waitFor("its record", async () => (destroyedKeys("evicted").length > 0 ? true : undefined), limits);
  assert.match(destroyedKeys("evicted")[0] ?? "", /^KEY_DESTROYED [0-9a-f]{32}$/);
  assert.equal(destroyedKeys("evicted").length, 1);
});

test("after a shred yesterday's store opens nothing of the tenant, and everything of the others", async () => {
  await putBound(service, "gone", "k", "value");
  await putBound(service, "stays", "k", "value");
  await service.stop();
  const backup = mkdtempSync(join(directory, "backup-"));
  cpSync(service.config.stateDir, backup, { recursive: true });
  await service.restart();
  await shred("gone");
  assert.equal(destroyedKeys("gone").length, 1);
  await service.stop();
  rmSync(service.config.stateDir, { recursive: true });
  renameSync(backup, service.config.stateDir);
  await service.restart();
  assert.equal((await service.as("viewer").listSecrets({ tenant: "gone" })).secrets.length, 1, "the rows are back");
  const token = (tenant: string) => service.as("operator").issueGatewayToken({ requestId: randomUUID(), tenant });
  assert.equal(await reasonFrom(token("gone")), "TENANT_KEY_DESTROYED");
  const guest = newGuest("gone");
  await issuedLeaf(service, guest);
  assert.equal(await reasonFrom(inject(service, guest, "127.0.4.3")), "TENANT_KEY_DESTROYED");
  assert.equal(await reasonFrom(token("stays")), "OK");
});

test("an operator rotates the root key, and nobody else", async () => {
  await put("rotated", "value");
  for (const caller of ["viewer", "vm"] as const) {
    assert.match(await reasonFrom(rotateRootKey(caller)), /^(PERMISSION_DENIED|ROLE_REQUIRED|NOT_ALLOWED)$/);
  }
  const { rootKeyId, previousRootKeyId, rewrappedCount } = await rotateRootKey();
  assert.notEqual(rootKeyId, previousRootKeyId);
  assert.ok(rewrappedCount > 0);
  assert.equal(await reasonFrom(put("rotated", "other")), "OK");
  assert.equal((await rotateRootKey()).previousRootKeyId, rootKeyId);
  const recorded = service.audit.entries.filter(({ action }) => action === "RotateRootKey").map(({ phase }) => phase);
  assert.ok(recorded.includes("intent") && recorded.includes("outcome"));
});

test("with root key files the same holds: the store and every root key there ever was open nothing of who was shredded", async () => {
  const local = await runningService();
  try {
    const stored = (tenant: string) =>
      local.as("operator").putSecret({
        ...{ requestId: randomUUID(), tenant, name: "k", value: { value: Buffer.from("value") } },
      });
    await stored("gone");
    await local.stop();
    const backup = mkdtempSync(join(directory, "backup-"));
    cpSync(local.config.stateDir, backup, { recursive: true });
    await local.restart();
    await local.as("vm").shredTenant({ requestId: randomUUID(), tenant: "gone" });
    await local.stop();
    rmSync(local.config.stateDir, { recursive: true });
    renameSync(backup, local.config.stateDir);
    await local.restart();
    const token = local.as("operator").issueGatewayToken({ requestId: randomUUID(), tenant: "gone" });
    assert.equal(await reasonFrom(token), "TENANT_KEY_DESTROYED");
    // The name is not burnt: a shred clears the restored rows too, and the tenant begins anew.
    await local.as("vm").shredTenant({ requestId: randomUUID(), tenant: "gone" });
    assert.equal((await stored("gone")).secret?.version, 1);
  } finally {
    await local.close();
  }
});
