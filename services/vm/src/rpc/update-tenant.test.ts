import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { EgressMode } from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import { serveRun } from "./fake-service.ts";

function open() {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const run = startRun(host, database);
  const { harness, records } = serveRun(host, database, run);
  return { harness, records, tenants: harness.as("role:operator", TenantService) };
}

const request = () => ({ requestId: randomUUID(), name: "demo" });

test("the answer has the tenant as it is now, and names what waits for its next boot", async () => {
  const { tenants } = open();
  await tenants.spawnTenant(request());
  const again = { ...request(), labels: { labels: { plan: "large", a: "1" } }, resources: { memoryMib: 512 } };
  const answer = await tenants.updateTenant(again);
  assert.deepEqual(answer.pendingFields, ["resources", "labels"]);
  assert.deepEqual([answer.tenant?.resources?.memoryMib, answer.tenant?.nextResources?.memoryMib], [256, 512]);
  const now = await tenants.updateTenant({
    ...request(),
    egress: { mode: EgressMode.NONE },
    networkLimits: { sentKbits: 64 },
  });
  assert.deepEqual(now.pendingFields, []);
  assert.deepEqual([now.tenant?.egress?.mode, now.tenant?.networkLimits?.sentKbits], [EgressMode.NONE, 64]);
  assert.deepEqual(now.tenant?.labels, { plan: "large", a: "1" });
  await tenants.updateTenant({ ...request(), labels: { labels: {} } });
  const reordered = { ...again, labels: { labels: { a: "1", plan: "large" } } };
  assert.deepEqual(await tenants.updateTenant(reordered), answer, "a late repetition brings nothing back");
  assert.deepEqual((await tenants.getTenant({ name: "demo" })).tenant?.labels, {});
});

test("what is malformed, empty or a viewer's is refused; each call is recorded before and after", async () => {
  const { harness, tenants, records } = open();
  await tenants.spawnTenant(request());
  for (const wrong of [
    {},
    { resources: { vcpuCount: 0 } },
    { networkLimits: { sentKbits: 1 } },
    { labels: { labels: { "No label": "" } } },
    { egress: { mode: EgressMode.LIST } },
  ])
    assert.equal(await tenants.updateTenant({ ...request(), ...wrong }).catch(reasonOf), "INVALID_FIELD");
  const change = { ...request(), labels: { labels: { a: "b" } } };
  await assert.rejects(harness.as("role:viewer", TenantService).updateTenant(change));
  records.entries.length = 0;
  await tenants.updateTenant(change);
  assert.deepEqual(
    records.entries.map(({ action, phase, outcome, tenant }) => `${action} ${phase} ${outcome} ${tenant}`),
    ["UpdateTenant intent unspecified demo", "UpdateTenant outcome success demo"],
  );
});
