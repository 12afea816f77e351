import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { TenantService, TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun } from "../lifecycle/fake-run.ts";
import type { Step } from "../lifecycle/journal.ts";
import { migrations } from "../store/schema.ts";
import { serveRun } from "./fake-service.ts";

function open(observe: (moment: string, step: Step) => Promise<void> = async () => undefined) {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const run = startRun(host, database, { observe });
  const { harness, records } = serveRun(host, database, run);
  return { harness, host, records, tenants: harness.as("role:operator", TenantService) };
}

const request = (name = "demo") => ({ requestId: randomUUID(), name });

test("each state on the way is what GetTenant and ListTenants show", async () => {
  const seen: (TenantState | undefined)[] = [];
  const watched: ReadonlySet<Step> = new Set(["seal-state", "stop-microvm", "load-state", "return-route"]);
  const { tenants } = open(async (moment, step) => {
    if (moment === "started" && watched.has(step)) seen.push((await tenants.getTenant({ name: "demo" })).tenant?.state);
  });
  await tenants.spawnTenant(request());
  assert.equal((await tenants.suspendTenant(request())).tenant?.state, TenantState.SUSPENDED);
  assert.deepEqual(
    (await tenants.listTenants({})).tenants.map(({ state }) => state),
    [TenantState.SUSPENDED],
  );
  const { tenant } = await tenants.resumeTenant(request());
  assert.deepEqual([tenant?.state, tenant?.generation], [TenantState.RUNNING, 2]);
  const { SUSPENDING, RESUMING } = TenantState;
  assert.deepEqual(seen, [SUSPENDING, SUSPENDING, RESUMING, RESUMING]);
});

test("a repeated request has the same answer and one effect, and another call under its id is refused", async () => {
  const { tenants } = open();
  await tenants.spawnTenant(request());
  const again = request();
  const first = await tenants.suspendTenant(again);
  assert.deepEqual((await tenants.suspendTenant(again)).tenant, first.tenant);
  assert.equal(await tenants.resumeTenant(again).catch(reasonOf), "REQUEST_ID_REUSED");
  await tenants.resumeTenant(request());
  assert.deepEqual((await tenants.suspendTenant(again)).tenant, first.tenant, "it is not suspended a second time");
  assert.equal((await tenants.getTenant({ name: "demo" })).tenant?.state, TenantState.RUNNING);
});

test("the wrong state is told by reason and by name, and changes nothing", async () => {
  const { tenants } = open();
  assert.equal(await tenants.suspendTenant(request("none")).catch(reasonOf), "TENANT_NOT_FOUND");
  assert.equal(await tenants.resumeTenant(request("none")).catch(reasonOf), "TENANT_NOT_FOUND");
  await tenants.spawnTenant(request());
  assert.equal(await tenants.resumeTenant(request()).catch(reasonOf), "TENANT_NOT_SUSPENDED");
  await tenants.suspendTenant(request());
  assert.equal(await tenants.suspendTenant(request()).catch(reasonOf), "TENANT_NOT_RUNNING");
});

test("a viewer may do neither, and both are recorded", async () => {
  const { harness, tenants, records } = open();
  await tenants.spawnTenant(request());
  const viewer = harness.as("role:viewer", TenantService);
  await assert.rejects(viewer.suspendTenant(request()));
  await assert.rejects(viewer.resumeTenant(request()));
  records.entries.length = 0;
  await tenants.suspendTenant(request());
  await tenants.resumeTenant(request());
  assert.deepEqual(
    records.entries.map(({ action, phase, outcome, tenant }) => `${action} ${phase} ${outcome ?? ""} ${tenant}`.trim()),
    [
      "SuspendTenant intent unspecified demo",
      "SuspendTenant outcome success demo",
      "ResumeTenant intent unspecified demo",
      "ResumeTenant outcome success demo",
    ],
  );
});
