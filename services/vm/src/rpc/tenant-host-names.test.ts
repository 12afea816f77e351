import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { defineErrors, reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import type { VmStart } from "../vmm/port.ts";
import { serveRun } from "./fake-service.ts";

const proxyFail = defineErrors("proxy.lobsterd", {
  HOST_NAME_TAKEN: Code.FailedPrecondition,
  HOST_NAME_RESERVED: Code.InvalidArgument,
});

const shop = ["www.shop.example", "shop.example"];
const inOrder = ["shop.example", "www.shop.example"];

function open() {
  const host = createFakeHost();
  const { start } = host.parts.vmm;
  const drives: { hostNames: string[] }[] = [];
  Object.assign(host.parts.vmm, {
    start: (order: VmStart) => {
      drives.push(JSON.parse(Buffer.from(order.identityDrive).toString("utf8").split("\0", 1).join()));
      return start(order);
    },
  });
  const database = openDatabase(":memory:", migrations);
  const run = startRun(host, database);
  const { harness } = serveRun(host, database, run);
  return { ...run, host, drives, tenants: harness.as("role:operator", TenantService) };
}

const request = (name: string, extraHostNames: readonly string[] = []) => ({
  requestId: randomUUID(),
  name,
  extraHostNames: [...extraHostNames],
});

test("a tenant's extra host names are told to its guest before they are published, and shown in order", async () => {
  const { tenants, host, drives } = open();
  const { tenant } = await tenants.spawnTenant(request("demo", shop));
  const own = ["demo.lobsterd.test", "demo.guest.internal"];
  assert.deepEqual(
    drives.map(({ hostNames }) => hostNames),
    [[...own, ...inOrder]],
  );
  const published = host.routes.get("demo");
  assert.deepEqual([published?.vmId, published?.extraHostNames], [tenant?.vmId, inOrder]);
  assert.deepEqual(tenant?.extraHostNames, inOrder);
  assert.deepEqual((await tenants.getTenant({ name: "demo" })).tenant?.extraHostNames, inOrder);
  assert.deepEqual((await tenants.listTenants({})).tenants[0]?.extraHostNames, inOrder);
});

test("a tenant of which nothing is said has no name but its own", async () => {
  const { tenants, host, drives } = open();
  const { tenant } = await tenants.spawnTenant(request("demo"));
  assert.deepEqual(drives[0]?.hostNames, ["demo.lobsterd.test", "demo.guest.internal"]);
  assert.deepEqual(host.routes.get("demo")?.extraHostNames, []);
  assert.deepEqual(tenant?.extraHostNames, []);
});

test("reconcile gives back a lost route with its extra host names, and puts right those that differ", async () => {
  const { tenants, host, operations } = open();
  const { tenant } = await tenants.spawnTenant(request("demo", shop));
  const awake = { generation: 1, state: RouteState.AWAKE };
  const published = { vmId: tenant?.vmId ?? "", ...awake, extraHostNames: inOrder };
  host.routes.delete("demo");
  await operations.reconcile();
  assert.deepEqual(host.routes.get("demo"), published);
  for (const extraHostNames of [[], ["shop.example", "stranger.example"]]) {
    host.routes.set("demo", { ...published, extraHostNames });
    await operations.reconcile();
    assert.deepEqual(host.routes.get("demo"), published);
  }
  host.refusing.set("publishRoute", proxyFail("HOST_NAME_TAKEN", "a route that is right is not published again"));
  const before = host.routes.get("demo");
  await operations.reconcile();
  assert.equal(host.routes.get("demo"), before);
});

test("a name that another tenant has is refused before anything is made, and is free when that tenant is gone", async () => {
  const { tenants, host, drives, operations, journal } = open();
  await tenants.spawnTenant(request("demo", shop));
  const before = await host.inventory();
  // proxy lost the route: that alone does not make the name free.
  host.routes.delete("demo");
  await assert.rejects(tenants.spawnTenant(request("other", ["free.example", "shop.example"])), (error) => {
    assert.ok(error instanceof ConnectError);
    assert.equal(error.code, Code.FailedPrecondition);
    assert.partialDeepStrictEqual(error.findDetails(ErrorInfoSchema)[0], {
      reason: "HOST_NAME_TAKEN",
      metadata: { host_name: "shop.example" },
    });
    return true;
  });
  assert.equal(drives.length, 1, "nothing was booted for it");
  assert.deepEqual(journal.open(), []);
  await operations.reconcile();
  assert.deepEqual(await host.inventory(), before);
  await tenants.evictTenant({ requestId: randomUUID(), name: "demo" });
  const { tenant } = await tenants.spawnTenant(request("other", ["shop.example"]));
  assert.deepEqual(tenant?.extraHostNames, ["shop.example"]);
});

test("of two spawns at once that want one name, one has it", async () => {
  const { tenants, host } = open();
  const results = await Promise.allSettled(["a", "b"].map((name) => tenants.spawnTenant(request(name, shop))));
  const refused = results.filter((result) => result.status === "rejected");
  assert.deepEqual(
    refused.map(({ reason }) => reasonOf(reason)),
    ["HOST_NAME_TAKEN"],
  );
  assert.equal(host.routes.size, 1);
});

for (const [reason, code] of [
  ["HOST_NAME_TAKEN", Code.FailedPrecondition],
  ["HOST_NAME_RESERVED", Code.InvalidArgument],
] as const) {
  test(`a spawn that proxy refuses with ${reason} says so and leaves nothing`, async () => {
    const { tenants, host, journal } = open();
    const metadata = { host_name: "shop.example" };
    host.refusing.set("publishRoute", proxyFail(reason, "refused", { metadata }));
    await assert.rejects(tenants.spawnTenant(request("demo", shop)), (error) => {
      assert.ok(error instanceof ConnectError);
      assert.equal(error.code, code);
      assert.partialDeepStrictEqual(error.findDetails(ErrorInfoSchema)[0], { reason, metadata });
      return true;
    });
    assert.deepEqual(await host.inventory(), []);
    assert.deepEqual(journal.open(), []);
    host.refusing.clear();
    assert.deepEqual((await tenants.listTenants({})).tenants, []);
  });
}

test("the same request with its names in another order is the same, with another name it is not", async () => {
  const { tenants } = open();
  const spawn = request("demo", shop);
  const first = await tenants.spawnTenant(spawn);
  assert.deepEqual(await tenants.spawnTenant({ ...spawn, extraHostNames: inOrder }), first);
  await assert.rejects(
    tenants.spawnTenant({ ...spawn, extraHostNames: ["shop.example"] }),
    (error) => reasonOf(error) === "REQUEST_ID_REUSED",
  );
});

test("names of another form, one name twice and a ninth name are refused before anything", async () => {
  const { tenants, host, drives } = open();
  const wrong = [
    ["Shop.example"],
    ["shop.example."],
    ["*.shop.example"],
    ["../shop.example"],
    ["shop"],
    ["10.0.0.1"],
    ["shop.example", "shop.example"],
    Array.from({ length: 9 }, (_, index) => `s${index}.example`),
  ];
  for (const extraHostNames of wrong) {
    await assert.rejects(
      tenants.spawnTenant(request("demo", extraHostNames)),
      (error) => error instanceof ConnectError && error.code === Code.InvalidArgument,
      extraHostNames.join(),
    );
  }
  assert.deepEqual(await host.inventory(), []);
  assert.equal(drives.length, 0);
  await tenants.spawnTenant(request("demo", wrong.at(-1)?.slice(1)));
});
