import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { fakeAuditSink, type TestCaller } from "@lobsterd/chassis/testing.ts";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { TenantService, TenantState, WakeCause } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import { serveRun } from "./fake-service.ts";

async function open(own: Parameters<typeof startRun>[2] = {}) {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const run = startRun(host, database, own);
  const { harness, records } = serveRun(host, database, run, fakeAuditSink());
  const tenants = harness.as("role:operator", TenantService);
  const { tenant } = await tenants.spawnTenant({ requestId: randomUUID(), name: "demo" });
  const suspend = () => tenants.suspendTenant({ requestId: randomUUID(), name: "demo" });
  await suspend();
  records.entries.length = 0;
  const request = () => ({ requestId: randomUUID(), name: "demo", vmId: tenant?.vmId ?? "", cause: WakeCause.REQUEST });
  const as = (caller: TestCaller) => harness.as(caller, TenantService);
  const state = async () => (await tenants.getTenant({ name: "demo" })).tenant?.state;
  return { records, request, as, proxy: as("service:proxy"), state, suspend };
}

test("a wake is recorded before and after, with who asked and why", async () => {
  const { records, request, proxy } = await open();
  const { tenant } = await proxy.wakeTenant(request());
  assert.deepEqual([tenant?.state, tenant?.generation], [TenantState.RUNNING, 2]);
  assert.deepEqual(
    records.entries.map(({ action, phase, actor, tenant: of, resource }) => [action, phase, actor, of, resource]),
    ["intent", "outcome"].map((phase) => ["WakeTenant", phase, "spiffe://test/svc/proxy", "demo", "cause:request"]),
  );
});

test("without audit nobody is woken", async () => {
  const { records, request, proxy, state } = await open();
  records.mode = "fail";
  assert.equal(await proxy.wakeTenant(request()).catch(reasonOf), "AUDIT_UNAVAILABLE");
  assert.equal(await state(), TenantState.SUSPENDED);
});

for (const caller of [
  "service:net",
  "service:secrets",
  "role:operator",
  "role:viewer",
  "role:owner",
  "nobody",
] as const) {
  test(`${caller} wakes nobody`, async () => {
    const { request, as, state } = await open();
    const { code } = ConnectError.from(
      await as(caller)
        .wakeTenant(request())
        .catch((error: unknown) => error),
    );
    assert.ok(code === Code.PermissionDenied || code === Code.Unauthenticated, Code[code]);
    assert.equal(await state(), TenantState.SUSPENDED);
  });
}

test("a refusal tells by its reason whose budget it is, and when to come again", async () => {
  const { request, proxy, suspend, records } = await open({ config: { wakesPerHour: 1 } });
  await proxy.wakeTenant(request());
  await suspend();
  const refusal = ConnectError.from(await proxy.wakeTenant(request()).catch((error: unknown) => error));
  const [info] = refusal.findDetails(ErrorInfoSchema);
  assert.deepEqual([refusal.code, info?.reason], [Code.ResourceExhausted, "WAKE_TENANT_BUDGET"]);
  assert.equal(info?.metadata["retry_after_s"], "3600");
  assert.deepEqual(
    [records.entries.at(-1)?.outcome, records.entries.at(-1)?.reason],
    ["refused", "WAKE_TENANT_BUDGET"],
  );
});

test("a request that is repeated is one wake, and one without a cause or a microVM is none", async () => {
  const { request, proxy, suspend, state } = await open();
  const again = request();
  await proxy.wakeTenant(again);
  await suspend();
  assert.equal((await proxy.wakeTenant(again)).tenant?.state, TenantState.RUNNING);
  assert.equal(await state(), TenantState.SUSPENDED, "the answer of then is given again");
  for (const wrong of [{ cause: WakeCause.UNSPECIFIED }, { vmId: "" }, { name: "Demo" }, { requestId: "1" }]) {
    assert.equal(await proxy.wakeTenant({ ...request(), ...wrong }).catch(reasonOf), "INVALID_FIELD");
  }
});
