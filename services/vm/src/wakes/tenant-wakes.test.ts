import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { reasonOf, ServiceError } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { createFakeHost, type FakeHost } from "../lifecycle/fake-host.ts";
import { type RunOptions, startRun, wish } from "../lifecycle/fake-run.ts";
import type { Step } from "../lifecycle/journal.ts";
import { migrations } from "../store/schema.ts";

type Run = ReturnType<typeof startRun>;

const memory = () => openDatabase(":memory:", migrations);
const withReason = (reason: string) => (error: unknown) => reasonOf(error) === reason;
const suspend = ({ operations }: Run, name = "demo") => operations.suspend(randomUUID(), name);
const wake = ({ wakes }: Run, vmId: string, name = "demo") =>
  wakes.wake({ requestId: randomUUID(), name, vmId, cause: "request" });
const count = (run: Run, line: string) => run.told.filter((told) => told === line).length;

/** A suspended tenant. */
async function asleep(host: FakeHost, database: DatabaseSync, options: RunOptions = {}) {
  const run = startRun(host, database, options);
  const { vmId } = await run.operations.spawn(wish("demo"));
  await suspend(run);
  return { run, vmId };
}

/** Holds each step of this name until `go`, and tells how many came. */
function holdingAt(step: Step) {
  const go = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const seen = { count: 0 };
  const observe: NonNullable<RunOptions["observe"]> = async (moment, name) => {
    if (moment !== "started" || name !== step) return;
    seen.count += 1;
    reached.resolve();
    await go.promise;
  };
  return { observe, seen, reached: reached.promise, go: () => go.resolve() };
}

test("a hundred wishes at once are one resume, and each gets the tenant running with its route awake", async () => {
  const host = createFakeHost();
  const { run, vmId } = await asleep(host, memory());
  const woken = await Promise.all(Array.from({ length: 100 }, () => wake(run, vmId)));
  assert.ok(woken.every(({ phase, generation }) => phase === "running" && generation === 2));
  assert.equal(count(run, "event resumed demo"), 1);
  assert.equal(count(run, "event woken demo request"), 1);
  assert.equal(host.routes.get("demo")?.state, RouteState.AWAKE);
});

test("a tenant that runs is an answer, costs no budget, and gets a route back that is lost", async () => {
  const host = createFakeHost();
  const { run, vmId } = await asleep(host, memory(), { config: { wakesPerHour: 1 } });
  await wake(run, vmId);
  host.routes.delete("demo");
  for (let index = 0; index < 5; index++) assert.equal((await wake(run, vmId)).phase, "running");
  assert.equal(host.routes.get("demo")?.state, RouteState.AWAKE);
});

test("nobody is woken for another microVM, and none that is gone or failed", async () => {
  const host = createFakeHost();
  const { run, vmId } = await asleep(host, memory());
  await assert.rejects(wake(run, "f".repeat(32)), withReason("TENANT_NOT_FOUND"));
  await assert.rejects(wake(run, vmId, "other"), withReason("TENANT_NOT_FOUND"));
  run.tenants.markFailed(vmId, "VMM_EXITED");
  await assert.rejects(wake(run, vmId), withReason("TENANT_NOT_SUSPENDED"));
});

test("a wish that comes during a suspend waits for its end and wakes what was suspended", async () => {
  const host = createFakeHost();
  const hold = holdingAt("seal-state");
  const run = startRun(host, memory(), { observe: hold.observe });
  const { vmId } = await run.operations.spawn(wish("demo"));
  const suspending = suspend(run);
  await hold.reached;
  const waking = wake(run, vmId);
  hold.go();
  assert.equal((await suspending).phase, "suspended");
  assert.deepEqual([(await waking).phase, (await waking).generation], ["running", 2]);
});

test("a wish joins a resume that somebody else began, and ends one that vm died in", async () => {
  const host = createFakeHost();
  const database = memory();
  const hold = holdingAt("renew-identity");
  const { run, vmId } = await asleep(host, database, { observe: hold.observe });
  const resuming = run.operations.resume(randomUUID(), "demo");
  await hold.reached;
  const joined = wake(run, vmId);
  // Another run over the same store: the first one is as good as dead, where it stands.
  const next = startRun(host, database);
  assert.deepEqual([(await wake(next, vmId)).phase, count(next, "event woken demo request")], ["running", 0]);
  hold.go();
  await Promise.allSettled([resuming, joined]);
});

test("a scan of fifty sleeping tenants wakes as many as the host takes, never more at once, and refuses the rest with a time", async () => {
  const host = createFakeHost();
  const limits = { slotCount: 64, concurrentWakes: 2, maxQueuedWakes: 3, vcpuOvercommit: 64 };
  let underWay = 0;
  let most = 0;
  const run = startRun(host, memory(), {
    config: limits,
    observe: async (moment, step) => {
      if (moment === "started" && step === "open-state") most = Math.max(most, ++underWay);
      if (moment === "done" && step === "return-route") underWay--;
    },
  });
  const tenants = [];
  for (let index = 0; index < 50; index++) {
    tenants.push(await run.operations.spawn(wish(`t-${index}`)));
    await suspend(run, `t-${index}`);
  }
  const scan = await Promise.allSettled(tenants.map(({ vmId, name }) => wake(run, vmId, name)));
  const refused = scan.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
  assert.equal(scan.length - refused.length, 5);
  assert.equal(most, 2);
  for (const error of refused) {
    assert.ok(error instanceof ServiceError);
    assert.deepEqual([error.reason, error.metadata["retry_after_s"]], ["WAKE_HOST_BUDGET", "5"]);
  }
  assert.equal(run.tenants.all().filter(({ phase }) => phase === "suspended").length, 45);
  const last = tenants[49];
  assert.equal((await wake(run, last?.vmId ?? "", last?.name)).phase, "running", "what was refused is woken later");
});

test("a tenant is woken so often in an hour and no more, across restarts, and again when the hour is over", async () => {
  const host = createFakeHost();
  const database = memory();
  const options = { config: { wakesPerHour: 3 } };
  const { run, vmId } = await asleep(host, database, options);
  for (let cycle = 0; cycle < 3; cycle++) {
    run.clock.nowMs += 60_000;
    await wake(run, vmId);
    await suspend(run);
  }
  const next = startRun(host, database, options);
  next.clock.nowMs = run.clock.nowMs;
  const refusal = await wake(next, vmId).catch((error: unknown) => error);
  assert.ok(refusal instanceof ServiceError);
  assert.deepEqual([refusal.reason, refusal.metadata["retry_after_s"]], ["WAKE_TENANT_BUDGET", String(3600 - 120)]);
  assert.equal(next.tenants.find("demo")?.phase, "suspended");
  next.clock.nowMs += (3600 - 120) * 1000 + 1;
  assert.equal((await wake(next, vmId)).phase, "running");
});

test("an operator's resume costs the tenant nothing of its budget", async () => {
  const host = createFakeHost();
  const { run, vmId } = await asleep(host, memory(), { config: { wakesPerHour: 1 } });
  for (let cycle = 0; cycle < 3; cycle++) {
    await run.operations.resume(randomUUID(), "demo");
    await suspend(run);
  }
  assert.equal((await wake(run, vmId)).phase, "running");
});

test("a wake that fails is counted: a state that cannot be loaded is not tried for ever", async () => {
  const host = createFakeHost();
  const { run, vmId } = await asleep(host, memory(), { config: { wakesPerHour: 2 } });
  host.failing.add("load");
  for (let attempt = 0; attempt < 2; attempt++) await assert.rejects(wake(run, vmId));
  await assert.rejects(wake(run, vmId), withReason("WAKE_TENANT_BUDGET"));
  assert.equal(run.tenants.find("demo")?.phase, "suspended");
});

test("a tenant runs for its minimum after a wake before it may rest, across restarts, and an operator need not wait", async () => {
  const host = createFakeHost();
  const database = memory();
  const options = { config: { minimumRunMs: 60_000 } };
  const { run, vmId } = await asleep(host, database, options);
  assert.equal(run.wakes.mayRest(vmId), true, "it was never woken");
  await wake(run, vmId);
  assert.equal(run.wakes.mayRest(vmId), false);
  const next = startRun(host, database, options);
  next.clock.nowMs = run.clock.nowMs + 59_999;
  assert.equal(next.wakes.mayRest(vmId), false);
  next.clock.nowMs += 1;
  assert.equal(next.wakes.mayRest(vmId), true);
  next.clock.nowMs = 0;
  assert.equal(next.wakes.mayRest(vmId), true, "a clock that was set back keeps nobody awake");
  assert.equal((await suspend(next)).phase, "suspended");
});

test("a tenant that is evicted while its wake waits for a place leaves the place to others", async () => {
  const host = createFakeHost();
  const held = holdingAt("open-state");
  const run = startRun(host, memory(), { observe: held.observe, config: { concurrentWakes: 1 } });
  const vmIds = new Map<string, string>();
  for (const name of ["first", "evicted", "last"]) {
    vmIds.set(name, (await run.operations.spawn(wish(name))).vmId);
    await suspend(run, name);
  }
  const wakeOf = (name: string) => wake(run, vmIds.get(name) ?? "", name);
  const first = wakeOf("first");
  await held.reached;
  const waiting = wakeOf("evicted");
  await run.operations.evict(randomUUID(), "evicted");
  held.go();
  await first;
  await assert.rejects(waiting, withReason("TENANT_NOT_FOUND"));
  assert.equal((await wakeOf("last")).phase, "running");
});

test("an eviction ends a wake, and nothing of it is left", async () => {
  const host = createFakeHost();
  const database = memory();
  const hold = holdingAt("load-state");
  const { run, vmId } = await asleep(host, database, { observe: hold.observe });
  const ended = assert.rejects(wake(run, vmId), withReason("TENANT_BUSY"));
  await hold.reached;
  const evicting = run.operations.evict(randomUUID(), "demo");
  hold.go();
  await Promise.all([ended, evicting]);
  assert.deepEqual(await host.inventory(), []);
  assert.deepEqual(database.prepare("SELECT * FROM wake").all(), []);
});

test("reconcile has a suspended tenant's route sleep and a running one's awake, whatever proxy has, and then changes nothing", async () => {
  const host = createFakeHost();
  const { run, vmId } = await asleep(host, memory());
  const sleeping = host.routes.get("demo");
  host.routes.delete("demo");
  await run.operations.reconcile();
  assert.deepEqual(host.routes.get("demo"), sleeping);
  await run.operations.reconcile();
  assert.deepEqual(host.routes.get("demo"), sleeping);
  await wake(run, vmId);
  for (const wrong of [undefined, sleeping]) {
    if (wrong === undefined) host.routes.delete("demo");
    else host.routes.set("demo", wrong);
    await run.operations.reconcile();
    assert.deepEqual([host.routes.get("demo")?.state, host.routes.get("demo")?.generation], [RouteState.AWAKE, 2]);
  }
});
