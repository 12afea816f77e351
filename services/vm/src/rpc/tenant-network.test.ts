import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { defineErrors, reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { EgressMode, EgressProtocol } from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import type { VmStart } from "../vmm/port.ts";
import { serveRun } from "./fake-service.ts";

const netFail = defineErrors("net.lobsterd", {
  SLOT_QUARANTINED: Code.ResourceExhausted,
  CONNTRACK_TOO_SMALL: Code.ResourceExhausted,
  EGRESS_RANGE_DENIED: Code.InvalidArgument,
});

const list = {
  mode: EgressMode.LIST,
  rules: [
    { cidr: "93.184.216.0/24", port: 443, protocol: EgressProtocol.TCP },
    { cidr: "1.1.1.1/32", port: 0, protocol: EgressProtocol.UNSPECIFIED },
  ],
};
const limits = { sentKbits: 2000, receivedKbits: 0, sentPackets: 100, receivedPackets: 0 };

function open() {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const run = startRun(host, database);
  const { harness, records } = serveRun(host, database, run);
  return { ...run, host, harness, records, tenants: harness.as("role:operator", TenantService) };
}

const request = (name: string) => ({ requestId: randomUUID(), name });

test("what a tenant may reach and how fast is kept, told to net, and shown", async () => {
  const { tenants, host } = open();
  const { tenant } = await tenants.spawnTenant({ ...request("demo"), egress: list, networkLimits: limits });
  assert.partialDeepStrictEqual(tenant, { egress: list, networkLimits: limits });
  const network = host.networks.get(tenant?.vmId ?? "");
  assert.partialDeepStrictEqual(network, { egress: list, limits });
  assert.partialDeepStrictEqual((await tenants.getTenant({ name: "demo" })).tenant, {
    egress: list,
    networkLimits: limits,
  });
  assert.partialDeepStrictEqual((await tenants.listTenants({})).tenants[0], { egress: list, networkLimits: limits });
});

test("a tenant of which nothing is said reaches the internet at the host's rates", async () => {
  const { tenants, host } = open();
  for (const [name, egress] of [["absent"], ["unspecified", {}], ["none", { mode: EgressMode.NONE }]] as const) {
    const { tenant } = await tenants.spawnTenant({ ...request(name), ...(egress && { egress }) });
    const mode = name === "none" ? EgressMode.NONE : EgressMode.INTERNET;
    assert.equal(tenant?.egress?.mode, mode, name);
    assert.equal(tenant?.networkLimits?.sentKbits, 0, name);
    assert.equal(host.networks.get(tenant?.vmId ?? "")?.egress?.mode, mode, name);
  }
});

test("a guest is told of the DNS servers that net lets it reach", async () => {
  const { tenants, host } = open();
  const { start } = host.parts.vmm;
  const drives: string[] = [];
  Object.assign(host.parts.vmm, {
    start: (order: VmStart) => {
      drives.push(Buffer.from(order.identityDrive).toString("utf8").split("\0", 1).join());
      return start(order);
    },
  });
  await tenants.spawnTenant(request("demo"));
  assert.deepEqual(
    drives.map((text) => JSON.parse(text).resolvers),
    [["45.0.0.53"]],
  );
});

test("a repeated spawn gives the same tenant; the same id with another policy is another request", async () => {
  const { tenants, host } = open();
  const spawn = { ...request("demo"), egress: list, networkLimits: limits };
  const first = await tenants.spawnTenant(spawn);
  assert.equal((await tenants.spawnTenant(spawn)).tenant?.vmId, first.tenant?.vmId);
  assert.equal(host.networks.size, 1);
  await assert.rejects(
    tenants.spawnTenant({ ...spawn, egress: { mode: EgressMode.NONE } }),
    (error) => reasonOf(error) === "REQUEST_ID_REUSED",
  );
});

test("a network that went missing comes back under the tenant's policy and limits", async () => {
  const { tenants, host, operations } = open();
  const { tenant } = await tenants.spawnTenant({ ...request("demo"), egress: list, networkLimits: limits });
  const vmId = tenant?.vmId ?? "";
  host.networks.delete(vmId);
  await operations.reconcile();
  assert.partialDeepStrictEqual(host.networks.get(vmId), { egress: list, limits });
});

for (const [reason, code, field] of [
  ["SLOT_QUARANTINED", Code.ResourceExhausted, ""],
  ["CONNTRACK_TOO_SMALL", Code.ResourceExhausted, ""],
  ["EGRESS_RANGE_DENIED", Code.InvalidArgument, "egress.rules[1].cidr"],
] as const) {
  test(`a spawn that net refuses with ${reason} says so with code and field, and leaves nothing`, async () => {
    const { tenants, host, journal } = open();
    host.refusing.set("attachNetwork", netFail(reason, "refused", { metadata: field === "" ? {} : { field } }));
    await assert.rejects(tenants.spawnTenant({ ...request("demo"), egress: list }), (error) => {
      assert.ok(error instanceof ConnectError);
      assert.equal(error.code, code);
      const [info] = error.findDetails(ErrorInfoSchema);
      assert.equal(info?.reason, reason);
      assert.equal(info.domain, "net.lobsterd");
      assert.equal(info.metadata["field"] ?? "", field);
      return true;
    });
    assert.deepEqual(await host.inventory(), []);
    assert.deepEqual(journal.open(), []);
    assert.deepEqual((await tenants.listTenants({})).tenants, []);
  });
}

test("rules without LIST, LIST without rules, host bits and limits below the least are refused before anything", async () => {
  const { tenants, host } = open();
  const [rule] = list.rules;
  assert.ok(rule);
  const wrong = [
    { egress: { mode: EgressMode.INTERNET, rules: [rule] } },
    { egress: { mode: EgressMode.LIST, rules: [] } },
    { egress: { mode: EgressMode.LIST, rules: [{ ...rule, cidr: "93.184.216.1/24" }] } },
    { networkLimits: { ...limits, sentKbits: 63 } },
    { networkLimits: { ...limits, receivedPackets: 9 } },
  ];
  for (const fields of wrong) {
    await assert.rejects(
      tenants.spawnTenant({ ...request("demo"), ...fields }),
      (error) => error instanceof ConnectError && error.code === Code.InvalidArgument,
    );
  }
  assert.deepEqual(await host.inventory(), []);
});

test("an update changes what a tenant reaches, once for each request id, and is recorded before and after", async () => {
  const { tenants, host, records } = open();
  const { tenant } = await tenants.spawnTenant({ ...request("demo"), networkLimits: limits });
  const update = { ...request("demo"), egress: list };
  const first = await tenants.updateTenantEgress(update);
  assert.partialDeepStrictEqual(first.tenant, { vmId: tenant?.vmId, egress: list, networkLimits: limits });
  assert.partialDeepStrictEqual(host.networks.get(tenant?.vmId ?? ""), { egress: list });
  assert.partialDeepStrictEqual((await tenants.getTenant({ name: "demo" })).tenant, { egress: list });
  await tenants.updateTenantEgress({ ...request("demo"), egress: {} });
  assert.deepEqual(await tenants.updateTenantEgress(update), first, "a stored answer");
  assert.equal((await tenants.getTenant({ name: "demo" })).tenant?.egress?.mode, EgressMode.INTERNET);
  await assert.rejects(
    tenants.updateTenantEgress({ ...update, egress: {} }),
    (error) => reasonOf(error) === "REQUEST_ID_REUSED",
  );
  const phases = records.entries.filter(({ action }) => action === "UpdateTenantEgress").map((entry) => entry.phase);
  assert.deepEqual(phases.slice(0, 2), ["intent", "outcome"]);
});

test("an update that net refuses keeps net's reason and field, and without audit there is none", async () => {
  const { tenants, host, records } = open();
  await tenants.spawnTenant(request("demo"));
  const field = "egress.rules[1].cidr";
  host.refusing.set("updateNetworkEgress", netFail("EGRESS_RANGE_DENIED", "refused", { metadata: { field } }));
  await assert.rejects(tenants.updateTenantEgress({ ...request("demo"), egress: list }), (error) => {
    assert.ok(error instanceof ConnectError);
    assert.equal(error.code, Code.InvalidArgument);
    assert.partialDeepStrictEqual(error.findDetails(ErrorInfoSchema)[0], {
      reason: "EGRESS_RANGE_DENIED",
      metadata: { field },
    });
    return true;
  });
  assert.equal((await tenants.getTenant({ name: "demo" })).tenant?.egress?.mode, EgressMode.INTERNET);
  host.refusing.clear();
  records.mode = "fail";
  await assert.rejects(
    tenants.updateTenantEgress({ ...request("demo"), egress: list }),
    (error) => reasonOf(error) === "AUDIT_UNAVAILABLE",
  );
  assert.equal((await tenants.getTenant({ name: "demo" })).tenant?.egress?.mode, EgressMode.INTERNET);
});

test("only operators change what a tenant reaches, and a policy has to be given", async () => {
  const { tenants, harness } = open();
  await tenants.spawnTenant(request("demo"));
  for (const caller of ["role:viewer", "role:owner", "stranger", "service:proxy"] as const) {
    await assert.rejects(
      harness.as(caller, TenantService).updateTenantEgress({ ...request("demo"), egress: list }),
      (error) => error instanceof ConnectError && error.code === Code.PermissionDenied,
      caller,
    );
  }
  await assert.rejects(
    tenants.updateTenantEgress(request("demo")),
    (error) => error instanceof ConnectError && error.code === Code.InvalidArgument,
  );
  await assert.rejects(
    tenants.updateTenantEgress({ ...request("nobody"), egress: list }),
    (error) => reasonOf(error) === "TENANT_NOT_FOUND",
  );
});
