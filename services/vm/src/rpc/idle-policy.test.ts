import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { IdleMode, TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import { serveRun } from "./fake-service.ts";

function open() {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const run = startRun(host, database);
  const { harness } = serveRun(host, database, run);
  return { run, tenants: harness.as("role:operator", TenantService) };
}

test("a tenant has the policy it was spawned with, or the host's, and shows it with what was last seen of it", async () => {
  const { run, tenants } = open();
  const spawn = (name: string, idlePolicy?: object) =>
    tenants.spawnTenant({ requestId: randomUUID(), name, ...(idlePolicy && { idlePolicy }) });
  const threshold = durationFromMs(10_000);
  const { tenant } = await spawn("silent");
  assert.partialDeepStrictEqual(tenant?.idlePolicy, { mode: IdleMode.AFTER, threshold });
  await spawn("manual", { mode: IdleMode.MANUAL });
  assert.equal((await tenants.getTenant({ name: "manual" })).tenant?.idlePolicy?.mode, IdleMode.MANUAL);
  assert.equal((await tenants.getTenant({ name: "silent" })).activity, undefined, "it was not looked at yet");
  await run.idle.look(new AbortController().signal);
  // A steady clock has fractions of a millisecond, which no message has room for.
  run.clock.steadyMs += 1234.0625;
  assert.deepEqual((await tenants.getTenant({ name: "silent" })).activity?.awakeBy, []);
  assert.equal((await tenants.getTenant({ name: "manual" })).activity, undefined);
});

test("a threshold that is out of range, or of a policy that has none, is refused", async () => {
  const { tenants } = open();
  for (const idlePolicy of [
    { threshold: durationFromMs(999) },
    { threshold: durationFromMs(86_400_001) },
    { mode: IdleMode.MANUAL, threshold: durationFromMs(5000) },
    { mode: IdleMode.NEVER, threshold: durationFromMs(5000) },
    { mode: 9 as IdleMode },
  ]) {
    const call = tenants.spawnTenant({ requestId: randomUUID(), name: "demo", idlePolicy });
    assert.equal(await call.then(() => "none", reasonOf), "INVALID_FIELD");
  }
  assert.deepEqual((await tenants.listTenants({})).tenants, []);
});
