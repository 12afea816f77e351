import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { DrainedTenants, HostService } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
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
  const [tenants, hosts] = [harness.as("role:operator", TenantService), harness.as("role:operator", HostService)];
  return { harness, run, records, tenants, hosts };
}

const request = () => ({ requestId: randomUUID() });

test("a drain is answered at once, shown by GetHost and CheckHost, and refuses with its reason", async () => {
  const { run, tenants, hosts } = open();
  await tenants.spawnTenant({ ...request(), name: "demo" });
  assert.equal((await hosts.getHost({})).host?.drain, undefined);
  const { drain } = await hosts.drainHost({ ...request(), reason: "new kernel" });
  assert.deepEqual([drain?.tenants, drain?.done, drain?.reason], [DrainedTenants.SUSPEND, false, "new kernel"]);
  await run.drain.run();
  assert.partialDeepStrictEqual((await hosts.getHost({})).host?.drain, {
    done: true,
    activeCount: 0,
    suspendedCount: 1,
  });
  assert.equal((await hosts.checkHost({})).drain?.done, true);
  assert.equal((await tenants.getTenant({ name: "demo" })).tenant?.state, TenantState.SUSPENDED);
  const refusal = await tenants.spawnTenant({ ...request(), name: "other" }).catch(ConnectError.from);
  assert.ok(refusal instanceof ConnectError);
  const [info] = refusal.findDetails(ErrorInfoSchema);
  assert.deepEqual([info?.reason, info?.metadata["reason"]], ["HOST_DRAINING", "new kernel"]);
  await hosts.undrainHost(request());
  assert.equal((await hosts.getHost({})).host?.drain, undefined);
  await tenants.resumeTenant({ ...request(), name: "demo" });
});

test("a late repetition drains no host again, a viewer may neither, and both are recorded", async () => {
  const { harness, records, hosts } = open();
  const again = { ...request(), tenants: DrainedTenants.KEEP };
  const answer = await hosts.drainHost(again);
  await hosts.undrainHost(request());
  assert.deepEqual(await hosts.drainHost(again), answer);
  assert.equal((await hosts.getHost({})).host?.drain, undefined);
  assert.equal(await hosts.drainHost({ ...request(), tenants: 7 as DrainedTenants }).catch(reasonOf), "INVALID_FIELD");
  const viewer = harness.as("role:viewer", HostService);
  await assert.rejects(viewer.drainHost(request()));
  await assert.rejects(viewer.undrainHost(request()));
  records.entries.length = 0;
  await hosts.drainHost({ ...request(), tenants: DrainedTenants.KEEP });
  await hosts.undrainHost(request());
  assert.deepEqual(
    records.entries.map(({ action, phase, outcome }) => `${action} ${phase} ${outcome}`),
    ["DrainHost", "UndrainHost"].flatMap((name) => [`${name} intent unspecified`, `${name} outcome success`]),
  );
});
