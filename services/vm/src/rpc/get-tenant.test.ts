import assert from "node:assert/strict";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { TenantState, WorkloadHealth } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { config, startRun, wish } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import { getTenant } from "./get-tenant.ts";

function open() {
  const host = createFakeHost();
  const run = startRun(host, openDatabase(":memory:", migrations));
  const get = getTenant({ config, tenants: run.tenants, guests: host.parts.guests, holds: run.holds, idle: run.idle });
  const { signal } = new AbortController();
  return { ...run, host, get: (name: string) => get({ name }, { signal }) };
}

test("a running tenant's agent and its workload are told apart, and a silent agent says nothing of the workload", async () => {
  const { host, operations, get } = open();
  await operations.spawn(wish("demo"));
  const { health } = await get("demo");
  assert.equal(health?.agentAnswers, true);
  assert.equal(health.workload, WorkloadHealth.HEALTHY);
  host.failing.add("workloadState");
  const silent = await get("demo");
  assert.equal(silent.tenant?.state, TenantState.RUNNING);
  assert.equal(silent.health?.agentAnswers, false);
  assert.equal(silent.health.workload, WorkloadHealth.UNSPECIFIED);
});

test("a tenant that does not run is not asked, and one that is not there is not found", async () => {
  const { tenants, operations, get } = open();
  const { vmId } = await operations.spawn(wish("demo"));
  tenants.markFailed(vmId, "VMM_EXITED");
  assert.equal((await get("demo")).health, undefined);
  await assert.rejects(get("absent"), (error) => reasonOf(error) === "TENANT_NOT_FOUND");
});
