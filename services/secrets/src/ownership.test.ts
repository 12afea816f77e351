/** SVC-04: what an owner is answered about the secrets of other tenants, of tenants to come, and of those that all share. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { defineRoutes, unimplemented } from "@lobsterd/chassis/routes.ts";
import { testHarness } from "@lobsterd/chassis/testing.ts";
import { SecretService } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { access } from "./access.ts";
import { tenantOwnership } from "./ownership.ts";
import { openSecretDatabase } from "./store/database.ts";
import { openIdentityStore } from "./store/identity-store.ts";

const directory = mkdtempSync(join(tmpdir(), "lobsterd-owners-"));
const database = openSecretDatabase(join(directory, "secrets.sqlite"));
const identities = openIdentityStore(database);
after(() => {
  database.close();
  rmSync(directory, { recursive: true });
});

// Whoever gets to a handler is answered NOT_IMPLEMENTED.
const handlers = Object.fromEntries(SecretService.methods.map(({ localName }) => [localName, unimplemented]));
const routes = [defineRoutes(SecretService, handlers as Parameters<typeof defineRoutes<typeof SecretService>>[1])];
const client = testHarness({ routes, access, ownership: tenantOwnership(identities) }).as("owner:anna", SecretService);

const issue = (tenant: string, vmId: string, owner?: string, generation = 1) =>
  identities.write({
    ...{ tenant, vmId, generation, serial: "1", issueTimeMs: 0, expireTimeMs: 1 },
    ...(owner === undefined ? {} : { owner }),
  });

const target = { target: { case: "file" as const, value: {} } };
const calls: Readonly<Record<string, (tenant: string) => Promise<unknown>>> = {
  putSecret: (tenant) =>
    client.putSecret({ requestId: randomUUID(), tenant, name: "one", value: { value: Buffer.from("x") } }),
  listSecrets: (tenant) => client.listSecrets({ tenant }),
  deleteSecret: (tenant) => client.deleteSecret({ requestId: randomUUID(), tenant, name: "one" }),
  bindSecret: (tenant) =>
    client.bindSecret({
      ...{ requestId: randomUUID(), tenant, name: "one", target },
      ...(tenant === "" ? { label: { key: "k", value: "v" } } : {}),
    }),
  issueGatewayToken: (tenant) => client.issueGatewayToken({ requestId: randomUUID(), tenant }),
};

async function answerOf(call: Promise<unknown>, tenant: string): Promise<string> {
  const error = ConnectError.from(
    await call.then(
      () => undefined,
      (failure: unknown) => failure,
    ),
  );
  return `${error.code} ${reasonOf(error)} ${error.rawMessage.replaceAll(tenant === "" ? " $" : tenant, "<tenant>")}`;
}

test("an owner's calls reach its own tenants, and all others are none", async () => {
  issue("annas", "a".repeat(32), "anna");
  issue("berts", "b".repeat(32), "bert");
  issue("nobodys", "c".repeat(32), "");
  for (const [method, call] of Object.entries(calls)) {
    assert.match(await answerOf(call("annas"), "annas"), /NOT_IMPLEMENTED/, method);
    const unknown = await answerOf(call("unknown"), "unknown");
    assert.match(unknown, /TENANT_NOT_FOUND there is no tenant <tenant>/, method);
    for (const tenant of ["berts", "nobodys"]) assert.equal(await answerOf(call(tenant), tenant), unknown, method);
    if (method === "issueGatewayToken") continue;
    assert.match(await answerOf(call(""), ""), /TENANT_NOT_FOUND/, `${method} of what all share`);
  }
});

test("a tenant is its owner's through every generation, and nobody's once its guests are gone", () => {
  const vmId = "d".repeat(32);
  issue("lasting", vmId, "anna");
  issue("lasting", vmId, undefined, 2);
  assert.equal(identities.isOwned("lasting", "anna"), true);
  assert.equal(identities.isOwned("lasting", "bert"), false);
  identities.revoke("lasting");
  assert.equal(identities.isOwned("lasting", "anna"), false);
  assert.equal(identities.isOwned("nobodys", ""), false);
});
