import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { TenantState, WorkloadHealth } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { askFront, hostOf } from "../client/front.ts";
import { extraHostZone } from "../dev/identities.ts";
import {
  ask,
  assertUnchangedSince,
  clients,
  env,
  evict,
  giveSecret,
  settledInventory,
  spawn,
  whoami,
} from "./subject.ts";

const names = ["alpha", "alpha-1", "beta", "b"] as const;
const extraHost = (name: string): string => `${name}-shop.${extraHostZone}`;
/** beta and b bring none. */
const extraHosts: Readonly<Record<string, readonly string[]>> = {
  alpha: [extraHost("alpha")],
  "alpha-1": [extraHost("alpha-1")],
};
let inventory: readonly string[] = [];
const digests = new Map<string, string>();

before(async () => {
  inventory = await settledInventory();
});

after(async () => {
  for (const name of [...names, "thief"]) await evict(name);
});

test("four tenants spawned in parallel all run", async () => {
  for (const name of names) digests.set(name, (await giveSecret(name, "api-key")).digest);
  const tenants = await Promise.all(names.map((name) => spawn(name, "base", extraHosts[name])));
  for (const tenant of tenants) {
    assert.equal(tenant.state, TenantState.RUNNING);
    assert.match(tenant.vmId, /^[0-9a-f]{32}$/);
    assert.notEqual(tenant.hostId, "");
  }
  assert.equal(new Set(tenants.map(({ slot }) => slot)).size, names.length);
  // Not all of them boot at once: when the last one does, the first of its size has been saved.
  assert.ok(tenants.every(({ bootOrigin }) => ["kernel", "template"].includes(bootOrigin)));
  const { host } = await clients.host.getHost({});
  const warm = tenants.filter(({ bootOrigin }) => bootOrigin === "template");
  assert.equal(warm.length > 0, host?.templatesOffered, "one guest at least began with the template of its size");
});

test("each answers over HTTPS with its own name and its own secret", async () => {
  for (const name of names) {
    const { status, headers } = await ask(name);
    assert.equal(status, 200);
    assert.ok(headers["strict-transport-security"] !== undefined, "HSTS");
    const answer = await whoami(name);
    assert.equal(answer.tenant, name);
    assert.equal(answer.generation, 1);
    assert.deepEqual(answer.secrets, { "api-key": digests.get(name) });
  }
});

test("a tenant's token opens no other tenant", async () => {
  const { token } = await clients.secrets.issueGatewayToken({ requestId: randomUUID(), tenant: "alpha" });
  const authorization = `Bearer ${Buffer.from(token?.value ?? []).toString("utf8")}`;
  for (const name of ["alpha-1", "beta", "b"]) {
    const { status, body } = await ask(name, { path: "/whoami", headers: { authorization } });
    assert.equal(status, 401, body);
  }
});

test("a tenant's extra host name leads to it and to nobody else", async () => {
  for (const name of ["alpha", "alpha-1"]) {
    const answer = await whoami(name, extraHost(name));
    assert.equal(answer.tenant, name);
    const { tenant } = await clients.tenants.getTenant({ name });
    assert.deepEqual(tenant?.extraHostNames, [extraHost(name)]);
  }
  const headers = { host: `${extraHost("alpha-1")}:${env.LOBSTERD_HTTPS.split(":")[1]}` };
  assert.notEqual((await askFront(env, extraHost("alpha"), { headers })).status, 200);
  // A name that could be beta's, and that beta did not bring.
  assert.ok((await askFront(env, extraHost("beta"))).status >= 400);
});

test("a spawn that wants another tenant's name is refused, and takes nothing from it", async () => {
  for (const [hostName, reason] of [
    [extraHost("alpha"), "HOST_NAME_TAKEN"],
    [hostOf(env, "beta"), "HOST_NAME_RESERVED"],
  ] as const) {
    await assert.rejects(spawn("thief", "base", [hostName]), (error) => reasonOf(error) === reason, hostName);
    await assert.rejects(
      clients.tenants.getTenant({ name: "thief" }),
      (error) => reasonOf(error) === "TENANT_NOT_FOUND",
    );
  }
  assert.equal((await whoami("alpha", extraHost("alpha"))).tenant, "alpha");
  assert.equal((await whoami("beta")).tenant, "beta");
});

test("a name never yields another tenant's answer, whatever Host says", async () => {
  for (const [sni, host] of [
    ["alpha", "beta"],
    ["alpha", "alpha-1"],
    ["b", "beta"],
  ] as const) {
    const port = env.LOBSTERD_HTTPS.split(":")[1];
    const headers = { host: `${hostOf(env, host)}:${port}` };
    const { status, body } = await askFront(env, hostOf(env, sni), { headers });
    assert.notEqual(status, 200, `SNI ${sni} and Host ${host}: ${body}`);
  }
  for (const name of ["unknown", "alph", "alpha-2", "x.alpha"]) {
    await askFront(env, hostOf(env, name)).then(
      ({ status, body }) => {
        assert.ok(status >= 400, `${name} answered ${status}`);
        assert.doesNotMatch(body, /alpha-1|beta/);
      },
      // A name below a tenant's is in no certificate.
      (error: Error) => assert.match(error.message, /altnames|alert|handshake/i),
    );
  }
});

test("lists are paged in the order of names, and one tenant can be asked for", async () => {
  const seen: string[] = [];
  let pageToken = "";
  do {
    const { tenants, page } = await clients.tenants.listTenants({ page: { pageSize: 3, pageToken } });
    assert.ok(tenants.length <= 3);
    seen.push(...tenants.map(({ name }) => name));
    pageToken = page?.nextPageToken ?? "";
  } while (pageToken !== "");
  assert.deepEqual(seen, [...names].sort());
  const { tenant, health } = await clients.tenants.getTenant({ name: "beta" });
  assert.equal(tenant?.state, TenantState.RUNNING);
  assert.deepEqual([health?.agentAnswers, health?.workload], [true, WorkloadHealth.HEALTHY]);
  const { host } = await clients.host.getHost({});
  assert.equal(host?.tenantCount, names.length);
  assert.equal(host?.productionBoundary, false);
});

test("an evicted tenant is refused over HTTPS, others go on answering", async () => {
  const evicting = evict("alpha-1");
  const { status } = await ask("alpha");
  assert.equal(status, 200, "others go on answering");
  await evicting;
  for (const host of [hostOf(env, "alpha-1"), extraHost("alpha-1")]) {
    const gone = await askFront(env, host).then(({ status }) => status);
    assert.ok(gone >= 400, `${host} answered ${gone}`);
  }
});

test("after all are evicted the host is as it was", async () => {
  await Promise.all(names.filter((name) => name !== "alpha-1").map((name) => evict(name)));
  await assertUnchangedSince(inventory);
});
