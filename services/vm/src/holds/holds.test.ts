import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { ExecTenantRequestSchema, TenantLogSource, TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun } from "../lifecycle/fake-run.ts";
import { execTenant } from "../rpc/exec-tenant.ts";
import { serveRun } from "../rpc/fake-service.ts";
import { streamTenantLogs } from "../rpc/stream-tenant-logs.ts";
import { migrations } from "../store/schema.ts";

const minuteMs = 60_000;

function open(database = openDatabase(":memory:", migrations)) {
  const host = createFakeHost();
  const run = startRun(host, database);
  const { harness } = serveRun(host, database, run);
  const tenants = harness.as("role:operator", TenantService);
  const acquire = (durationMs: number, more: { name?: string; holdId?: string; requestId?: string } = {}) =>
    tenants.acquireHold({ requestId: randomUUID(), name: "demo", duration: durationFromMs(durationMs), ...more });
  return {
    ...{ run, host, tenants, acquire, viewer: harness.as("role:viewer", TenantService) },
    spawn: (name: string) => tenants.spawnTenant({ requestId: randomUUID(), name }),
    release: (holdId: string, name = "demo") => tenants.releaseHold({ requestId: randomUUID(), name, holdId }),
    count: async (name = "demo") => (await tenants.getTenant({ name })).holdCount,
  };
}

test("a hold ends by itself at its time, to the millisecond, and a renewed one later", async () => {
  const { run, spawn, acquire, count } = open();
  await spawn("demo");
  const first = await acquire(minuteMs);
  assert.equal(first.expireTime && timestampMs(first.expireTime), run.clock.nowMs + minuteMs);
  run.clock.nowMs += minuteMs - 1;
  assert.equal(await count(), 1);
  const renewed = await acquire(2 * minuteMs, { holdId: first.holdId });
  assert.equal(renewed.holdId, first.holdId);
  run.clock.nowMs += 2 * minuteMs - 1;
  assert.equal(await count(), 1);
  run.clock.nowMs += 1;
  assert.equal(await count(), 0);
  assert.equal(await acquire(minuteMs, { holdId: first.holdId }).catch(reasonOf), "HOLD_NOT_FOUND");
});

test("a release ends one hold, is safe to repeat, and reaches no other tenant's", async () => {
  const { spawn, acquire, release, count } = open();
  await spawn("demo");
  await spawn("other");
  const { holdId } = await acquire(minuteMs);
  await release(holdId, "other");
  assert.equal(await acquire(minuteMs, { name: "other", holdId }).catch(reasonOf), "HOLD_NOT_FOUND");
  assert.equal(await count(), 1);
  await release(holdId);
  await release(holdId);
  assert.equal(await count(), 0);
});

test("what is over a bound is RESOURCE_EXHAUSTED by reason, and takes nothing", async () => {
  const { run, spawn, acquire, count } = open();
  await spawn("demo");
  await spawn("other");
  assert.equal(await acquire(5 * minuteMs + 1).catch(reasonOf), "HOLD_TOO_LONG");
  for (let taken = 0; taken < 16; taken++) await acquire(5 * minuteMs);
  assert.equal(await acquire(minuteMs).catch(reasonOf), "TOO_MANY_HOLDS");
  assert.equal(await count(), 16);
  await acquire(minuteMs, { name: "other" });
  run.clock.nowMs += 5 * minuteMs;
  await acquire(minuteMs);
});

test("a hold outlives a restart of vm and goes with its tenant", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-holds-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "vm.sqlite");
  const before = openDatabase(path, migrations);
  const first = open(before);
  await first.spawn("demo");
  const { vmId } = first.run.tenants.find("demo") ?? { vmId: "" };
  await first.acquire(minuteMs);
  before.close();
  const second = open(openDatabase(path, migrations));
  assert.equal(second.run.holds.count(vmId), 1);
  await second.tenants.evictTenant({ requestId: randomUUID(), name: "demo" });
  assert.equal(second.run.holds.count(vmId), 0);
});

test("a clock that is set back by a month holds nobody awake", async () => {
  const { run, spawn, acquire, count } = open();
  await spawn("demo");
  await acquire(5 * minuteMs);
  run.clock.nowMs -= 30 * 24 * 60 * minuteMs;
  assert.equal(await count(), 0);
});

test("a repeated request is one hold; only a running tenant and an operator have any", async () => {
  const { spawn, acquire, count, viewer, tenants } = open();
  assert.equal(await acquire(minuteMs).catch(reasonOf), "TENANT_NOT_FOUND");
  await spawn("demo");
  const requestId = randomUUID();
  const first = await acquire(minuteMs, { requestId });
  assert.equal((await acquire(minuteMs, { requestId })).holdId, first.holdId);
  assert.equal(await count(), 1);
  const request = { requestId: randomUUID(), name: "demo", duration: durationFromMs(1000) };
  assert.equal(await viewer.acquireHold(request).catch(reasonOf), "NOT_ALLOWED");
  await tenants.suspendTenant({ requestId: randomUUID(), name: "demo" });
  assert.equal(await acquire(minuteMs).catch(reasonOf), "TENANT_NOT_RUNNING");
});

test("a command and a log hold their tenant for as long as they run, however they end", async () => {
  const { run, host, spawn } = open();
  await spawn("demo");
  const { vmId } = run.tenants.find("demo") ?? { vmId: "" };
  const context = { ...run, guests: host.parts.guests };
  const signal = new AbortController().signal;
  const log = { name: "demo", source: TenantLogSource.AGENT, follow: true, tailLines: 0 };
  const start = create(ExecTenantRequestSchema, {
    message: { case: "start", value: { name: "demo", command: ["sh"] } },
  });
  const requests = async function* () {
    yield start;
  };
  for await (const _chunk of execTenant(context)(requests(), { signal })) {
    assert.equal(run.holds.count(vmId), 1);
    for await (const _line of streamTenantLogs(context)(log, { signal })) {
      assert.equal(run.holds.count(vmId), 2);
      break;
    }
    assert.equal(run.holds.count(vmId), 1);
  }
  assert.equal(run.holds.count(vmId), 0);
});

test("callers' holds keep nobody from running a command, and a failed one leaves no hold", async () => {
  const { host, spawn, acquire, count, tenants } = open();
  await spawn("demo");
  for (let taken = 0; taken < 16; taken++) await acquire(5 * minuteMs);
  const log = { name: "demo", source: TenantLogSource.AGENT };
  assert.equal((await Array.fromAsync(tenants.streamTenantLogs(log))).length, 2);
  host.failing.add("streamLogs");
  await assert.rejects(Array.fromAsync(tenants.streamTenantLogs(log)));
  assert.equal(await count(), 16);
});

test("the hold of a command that runs for hours is renewed", async (t) => {
  const { run, spawn } = open();
  await spawn("demo");
  const { vmId } = run.tenants.find("demo") ?? { vmId: "" };
  t.mock.timers.enable({ apis: ["setInterval"] });
  const silent = async function* () {
    yield "begun";
    await new Promise(() => undefined);
  };
  const stream = run.holds.during(vmId, silent());
  await stream.next();
  for (let minutes = 0; minutes < 240; minutes += 2) {
    run.clock.nowMs += 2 * minuteMs;
    t.mock.timers.tick(2 * minuteMs);
    assert.equal(run.holds.count(vmId), 1);
  }
});

test("the hold of a command that nobody reads is not renewed when its tenant is gone, and ends nothing else", async (t) => {
  const { run, spawn } = open();
  await spawn("demo");
  const { vmId } = run.tenants.find("demo") ?? { vmId: "" };
  t.mock.timers.enable({ apis: ["setInterval"] });
  const stream = run.holds.during(
    vmId,
    (async function* () {
      for (;;) yield "more";
    })(),
  );
  await stream.next();
  await run.operations.evict(randomUUID(), "demo");
  t.mock.timers.tick(2 * minuteMs); // what a timer throws ends the process
  assert.equal(run.holds.count(vmId), 0);
});
