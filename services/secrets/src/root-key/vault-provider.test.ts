import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { type TestAuthority, testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import { type VaultFault, vaultServer } from "../testing/vault-server.ts";
import { rootKeyProviderConforms } from "./conformance.ts";
import { openVaultClient } from "./vault-client.ts";
import { vaultRootKey } from "./vault-provider.ts";

const target = { tenant: "demo", tenantKeyId: "ab".repeat(16) };
const tenantKeyName = `lobsterd-${target.tenantKeyId}`;
const limitMs = 500;

let directory: string;
let authority: TestAuthority;
let leaf: ReturnType<TestAuthority["issue"]>;
before(() => {
  directory = mkdtempSync(join(tmpdir(), "vault-"));
  authority = testCertificates(join(directory, "authority"));
  leaf = authority.issue("vault", []);
});
after(() => rmSync(directory, { recursive: true }));

/** A server with a root key, and how to reach it. */
async function startVault() {
  const token = `hvs.test-${randomBytes(16).toString("hex")}`;
  const tokenPath = join(mkdtempSync(join(directory, "token-")), "token");
  writeFileSync(tokenPath, `${token}\n`, { mode: 0o400 });
  const server = await vaultServer({ ...leaf, token });
  server.makeKey("lobsterd");
  const client = { address: server.address, caPath: authority.caPath, tokenPath, timeoutMs: limitMs };
  const open = (change: Partial<typeof client> = {}) =>
    vaultRootKey(openVaultClient({ ...client, ...change }), { mount: "transit", keyName: "lobsterd" });
  return { server, tokenPath, open, [Symbol.asyncDispose]: () => server.close() };
}

/** A call that does not end is told by name, rather than by the end of the whole run. */
async function reasonFrom(result: Promise<unknown>): Promise<string | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(() => resolve("it does not end"), 20_000);
  try {
    return await Promise.race([result.then(() => "OK", reasonOf), late]);
  } finally {
    clearTimeout(timer);
  }
}

rootKeyProviderConforms("Vault transit", async () => {
  const { server, open } = await startVault();
  return {
    provider: open(),
    takeAway: () => {
      server.fault = { status: 503, body: JSON.stringify({ errors: ["Vault is sealed"] }) };
    },
    putBack: () => {
      server.fault = undefined;
    },
    replace: () => {
      server.deleteKey("lobsterd");
      server.makeKey("lobsterd");
    },
    prepareRotation: () => undefined,
    reopen: () => open(),
    dispose: () => server.close(),
  };
});

test("it speaks the API as it is published", async () => {
  await using vault = await startVault();
  const provider = vault.open();
  const wrapped = await provider.create(target);
  (await provider.unwrap(wrapped, target)).destroy();
  await provider.beginRotation();
  await provider.rewrap(wrapped, target);
  await provider.finishRotation();
  await provider.destroy(target.tenantKeyId);
  assert.deepEqual(vault.server.requests, [
    `POST keys/${tenantKeyName}`,
    `POST datakey/wrapped/${tenantKeyName}`,
    "POST encrypt/lobsterd",
    "GET keys/lobsterd",
    "POST decrypt/lobsterd",
    `POST decrypt/${tenantKeyName}`,
    "GET keys/lobsterd",
    "POST keys/lobsterd/rotate",
    "GET keys/lobsterd",
    "POST rewrap/lobsterd",
    "GET keys/lobsterd",
    "GET keys/lobsterd",
    "POST keys/lobsterd/config",
    `POST keys/${tenantKeyName}/config`,
    `DELETE keys/${tenantKeyName}`,
    `GET keys/${tenantKeyName}`,
  ]);
});

test("every way in which the server can be out of order is ROOT_KEY_UNAVAILABLE within its limit, and heals", async () => {
  await using vault = await startVault();
  const provider = vault.open();
  const wrapped = await provider.create(target);
  const said = (status: number, ...errors: string[]): VaultFault => ({ status, body: JSON.stringify({ errors }) });
  const faults: Record<string, VaultFault> = {
    sealed: said(503, "Vault is sealed"),
    "no permission": said(403, "permission denied"),
    "rate limit": said(429, 'request path "transit/decrypt": rate limit quota exceeded'),
    standby: said(473),
    "internal error": said(500, "internal error"),
    "another server's page": { status: 404, body: "<html>not found</html>" },
    "a proxy in between": { status: 502, body: "<html>bad gateway</html>" },
    redirect: { status: 307, body: "" },
    "no JSON": { status: 200, body: "plaintext" },
    "JSON of another form": { status: 200, body: JSON.stringify({ data: { plaintext: 1 } }) },
    "no key in it": { status: 200, body: JSON.stringify({ data: {} }) },
    hang: "hang",
    endless: "endless",
  };
  for (const [what, fault] of Object.entries(faults)) {
    vault.server.fault = fault;
    assert.equal(await reasonFrom(provider.unwrap(wrapped, target)), "ROOT_KEY_UNAVAILABLE", what);
    assert.equal(await reasonFrom(provider.destroy(target.tenantKeyId)), "ROOT_KEY_UNAVAILABLE", what);
    assert.equal((await provider.health()).state, "unavailable", what);
  }
  vault.server.fault = undefined;
  assert.equal(await reasonFrom(provider.unwrap(wrapped, target)), "OK");
});

test("an answer without end is cut by its size, whatever the time allows", async () => {
  await using vault = await startVault();
  vault.server.fault = "endless";
  assert.equal(await reasonFrom(vault.open({ timeoutMs: 5_000 }).create(target)), "ROOT_KEY_UNAVAILABLE");
  // What the sockets of both ends hold is sent and not read.
  assert.ok(vault.server.endlessBytes < 32 * 1024 * 1024, `${vault.server.endlessBytes} bytes were taken`);
});

test("a server of another authority, or none, and a wrong, absent or open token are refused", async () => {
  await using vault = await startVault();
  const wrapped = await vault.open().create(target);
  const unwrapped = (change: Parameters<typeof vault.open>[0]) =>
    reasonFrom(vault.open(change).unwrap(wrapped, target));
  const elsewhere = testCertificates(join(directory, "elsewhere"));
  assert.equal(await unwrapped({ caPath: elsewhere.caPath }), "ROOT_KEY_UNAVAILABLE");
  assert.equal(await unwrapped({ caPath: join(directory, "absent.pem") }), "ROOT_KEY_UNAVAILABLE");
  assert.equal(await unwrapped({ address: "https://localhost:1" }), "ROOT_KEY_UNAVAILABLE");
  const wrongToken = join(directory, "wrong-token");
  writeFileSync(wrongToken, "hvs.wrong", { mode: 0o400 });
  assert.equal(await unwrapped({ tokenPath: wrongToken }), "ROOT_KEY_UNAVAILABLE");
  renameSync(vault.tokenPath, `${vault.tokenPath}.away`);
  assert.equal(await unwrapped({}), "ROOT_KEY_UNAVAILABLE");
  renameSync(`${vault.tokenPath}.away`, vault.tokenPath);
  chmodSync(vault.tokenPath, 0o644);
  assert.equal(await unwrapped({}), "ROOT_KEY_UNAVAILABLE");
  assert.equal((await vault.open().health()).state, "unsafe");
  chmodSync(vault.tokenPath, 0o400);
  assert.equal(await unwrapped({}), "OK");
});

test("a destroyed key stays destroyed: made again under its name it opens nothing, and a deletion that can be undone is none", async () => {
  await using vault = await startVault();
  const provider = vault.open();
  const wrapped = await provider.create(target);
  vault.server.deletesSoftly = true;
  assert.equal(await reasonFrom(provider.destroy(target.tenantKeyId)), "ROOT_KEY_UNAVAILABLE", "it is still there");
  vault.server.deletesSoftly = false;
  await provider.destroy(target.tenantKeyId);
  assert.equal(vault.server.keys.has(tenantKeyName), false);
  assert.equal(await reasonFrom(provider.unwrap(wrapped, target)), "TENANT_KEY_DESTROYED");
  assert.equal(vault.server.keys.has(tenantKeyName), false, "asking for it does not make it");
  vault.server.makeKey(tenantKeyName);
  assert.equal(await reasonFrom(provider.unwrap(wrapped, target)), "SEAL_BROKEN");
});

test("a retired version of the root key opens nothing any more", async () => {
  await using vault = await startVault();
  const provider = vault.open();
  const wrapped = await provider.create(target);
  await provider.beginRotation();
  const rewrapped = await provider.rewrap(wrapped, target);
  await provider.finishRotation();
  assert.equal(await reasonFrom(provider.unwrap(wrapped, target)), "ROOT_KEY_UNAVAILABLE");
  assert.equal(await reasonFrom(provider.unwrap(rewrapped, target)), "OK");
});
