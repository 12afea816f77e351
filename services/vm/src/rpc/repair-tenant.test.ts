import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { TenantService, TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import { serveRun } from "./fake-service.ts";

function open() {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const run = startRun(host, database);
  const { harness, records } = serveRun(host, database, run);
  return { harness, host, records, tenants: harness.as("role:operator", TenantService) };
}

const request = (name = "demo") => ({ requestId: randomUUID(), name });

test("a tenant whose VMM ended: what was found, what was done, what is found again; repeated it is the same answer", async () => {
  const { host, tenants } = open();
  const { tenant } = await tenants.spawnTenant(request());
  host.vmm.exit(tenant?.vmId ?? "");
  const again = request();
  const answer = await tenants.repairTenant(again);
  assert.deepEqual(
    answer.before.map(({ name, passed, detail }) => `${name} ${passed} ${detail}`),
    [
      "vm.process false exited",
      "agent.answers false not asked",
      "workload.healthy false not known",
      "net.attached true slot 0",
      "net.rules true as recorded",
      "route.published true generation 1",
    ],
  );
  assert.deepEqual(
    answer.repairs.map(({ action, succeeded, reason }) => [action, succeeded, reason]),
    [["boot-guest", true, ""]],
  );
  assert.ok(answer.after.every(({ passed }) => passed));
  assert.deepEqual([answer.tenant?.state, answer.tenant?.generation], [TenantState.RUNNING, 2]);
  host.vmm.exit(tenant?.vmId ?? "");
  assert.deepEqual(await tenants.repairTenant(again), answer);
  assert.equal((await tenants.repairTenant(request())).tenant?.generation, 3);
});

test("a viewer may not, an unknown tenant is told so, and each call is recorded before and after", async () => {
  const { harness, tenants, records } = open();
  await assert.rejects(harness.as("role:viewer", TenantService).repairTenant(request()));
  assert.equal(await tenants.repairTenant(request("none")).catch(reasonOf), "TENANT_NOT_FOUND");
  assert.equal(await tenants.repairTenant({ requestId: "", name: "demo" }).catch(reasonOf), "INVALID_FIELD");
  await tenants.spawnTenant(request());
  records.entries.length = 0;
  await tenants.repairTenant(request());
  assert.deepEqual(
    records.entries.map(({ action, phase, outcome, tenant }) => `${action} ${phase} ${outcome} ${tenant}`),
    ["RepairTenant intent unspecified demo", "RepairTenant outcome success demo"],
  );
});
