import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { captureLogs } from "@lobsterd/chassis/testing.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { config, type RunOptions, startRun, wish } from "../lifecycle/fake-run.ts";
import type { SpawnWish } from "../lifecycle/plan.ts";
import { migrations } from "../store/schema.ts";
import { openIdle } from "./open-idle.ts";

const thresholdMs = 10_000;
const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const { signal } = new AbortController();

function open(options: RunOptions = {}) {
  const host = createFakeHost();
  const run = startRun(host, openDatabase(":memory:", migrations), options);
  const spawn = (name: string, more: Partial<SpawnWish> = {}) =>
    run.operations.spawn({ ...wish(name), idlePolicy: { mode: "after", thresholdMs }, ...more });
  const phaseOf = (name: string) => run.tenants.find(name)?.phase;
  /** Looks every two seconds, as the service does. Suspends that begin are done before the next look. */
  const pass = async (ms: number) => {
    for (let passedMs = 0; passedMs < ms; passedMs += 2000) {
      run.clock.steadyMs += Math.min(2000, ms - passedMs);
      await run.idle.look(signal);
      await settled(() => !run.tenants.all().some(({ phase }) => phase === "suspending"));
    }
  };
  return { ...run, host, spawn, phaseOf, pass };
}

/** Suspends run in the background, over files: this gives them the time. */
async function settled(isSettled: () => boolean): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  while (!isSettled()) await new Promise(setImmediate);
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
}

test("an idle tenant is suspended once it was idle for its threshold, and event and record say why", async () => {
  const { idle, tenants, spawn, phaseOf, pass, told } = open();
  const { vmId } = await spawn("demo");
  await idle.look(signal);
  await pass(thresholdMs - 1);
  assert.equal(phaseOf("demo"), "running");
  assert.equal(idle.viewOf(vmId)?.awakeBy.length, 0);
  told.length = 0;
  await pass(1);
  assert.deepEqual([phaseOf("demo"), tenants.find("demo")?.sleepCause], ["suspended", "idle"]);
  assert.deepEqual(told, [
    "record SealState outcome success  demo",
    "event suspended demo by idle",
    "record SuspendTenant outcome success IDLE demo",
  ]);
});

test("a tenant with only an outbound connection stays awake as long as it lasts, and the threshold begins at its end", async () => {
  const { host, spawn, phaseOf, pass, idle } = open();
  const { vmId } = await spawn("demo");
  host.usage.set(vmId, { outboundConnections: 1 });
  await pass(minuteMs * 5);
  assert.deepEqual([phaseOf("demo"), idle.viewOf(vmId)?.awakeBy], ["running", ["outbound-connection"]]);
  host.usage.delete(vmId);
  await pass(thresholdMs - 2000);
  assert.equal(phaseOf("demo"), "running");
  await pass(5000);
  assert.equal(phaseOf("demo"), "suspended");
});

test("a request or a WebSocket that is served keeps a tenant awake; a connection that Caddy only keeps does not", async () => {
  const { host, spawn, phaseOf, pass } = open();
  const { vmId } = await spawn("demo");
  host.usage.set(vmId, { inboundConnections: 1, inboundSilence: durationFromMs(60_000) });
  host.claims.set(vmId, { inboundConnections: 1 });
  await pass(minuteMs * 5);
  assert.equal(phaseOf("demo"), "running");
  host.claims.delete(vmId);
  await pass(thresholdMs + 2000);
  assert.equal(phaseOf("demo"), "suspended");
});

test("the threshold begins at the last packet of an inbound connection", async () => {
  const { host, spawn, phaseOf, pass } = open();
  const { vmId } = await spawn("demo");
  await pass(8000);
  host.usage.set(vmId, { inboundConnections: 1, inboundSilence: durationFromMs(1000) });
  await pass(2000);
  host.usage.delete(vmId);
  await pass(8000);
  assert.equal(phaseOf("demo"), "running");
  await pass(2000);
  assert.equal(phaseOf("demo"), "suspended");
});

test("a guest cannot pretend to serve what nobody has connected to", async () => {
  const { host, spawn, phaseOf, pass } = open();
  const { vmId } = await spawn("demo");
  host.claims.set(vmId, { inboundConnections: 1000 });
  await pass(thresholdMs + 2000);
  assert.equal(phaseOf("demo"), "suspended");
});

test("a hold keeps a tenant awake, and a suspend that has begun stops at one before it does anything", async () => {
  const { host, holds, spawn, phaseOf, pass, told } = open();
  const { vmId } = await spawn("demo");
  const { holdId } = holds.acquire(vmId, 300_000);
  await pass(minuteMs);
  assert.equal(phaseOf("demo"), "running");
  holds.release(vmId, holdId);
  const { createDataKey } = host.parts.secrets;
  Object.assign(host.parts.secrets, {
    createDataKey: async (...given: Parameters<typeof createDataKey>) => {
      const made = await createDataKey(...given);
      holds.acquire(vmId, 300_000);
      return made;
    },
  });
  told.length = 0;
  await pass(thresholdMs + 2000);
  assert.deepEqual([phaseOf("demo"), told, [...host.routes.keys()]], ["running", [], ["demo"]]);
});

for (const failure of ["getNetworkUsage", "activity"] as const) {
  test(`a tenant of which nothing is known, since ${failure} fails, is never suspended`, async () => {
    const { host, idle, spawn, phaseOf, pass } = open();
    const { vmId } = await spawn("demo");
    await pass(8000);
    host.failing.add(failure);
    await pass(minuteMs * 5);
    assert.deepEqual([phaseOf("demo"), idle.viewOf(vmId)?.awakeBy], ["running", ["unknown"]]);
    host.failing.delete(failure);
    await pass(8000);
    assert.equal(phaseOf("demo"), "running", "what was idle before is not counted");
    await pass(14_000);
    assert.equal(phaseOf("demo"), "suspended");
  });
}

test("a guest is kept awake by its own word for half of an hour, and nobody else's budget is touched", async () => {
  const { host, spawn, phaseOf, pass, operations } = open();
  const { vmId } = await spawn("liar");
  const honest = await spawn("honest");
  host.claims.set(vmId, { holds: 1, runningJobs: 7 });
  await pass(hourMs / 2);
  assert.equal(phaseOf("liar"), "running");
  host.claims.set(honest.vmId, { holds: 1 });
  await operations.resume(randomUUID(), "honest");
  await pass(thresholdMs + 4000);
  assert.deepEqual([phaseOf("liar"), phaseOf("honest")], ["suspended", "running"]);
  await operations.resume(randomUUID(), "liar");
  await pass(thresholdMs + 4000);
  assert.equal(phaseOf("liar"), "suspended", "a resume gives no new budget");
  await pass(hourMs / 2 + 60_000);
  await operations.resume(randomUUID(), "liar");
  await pass(thresholdMs + 4000);
  assert.equal(phaseOf("liar"), "running", "an hour later it is believed again");
});

test("what a guest claims costs it nothing while the host sees it in use", async () => {
  const { host, spawn, phaseOf, pass } = open();
  const { vmId } = await spawn("demo");
  host.claims.set(vmId, { holds: 1 });
  host.usage.set(vmId, { outboundConnections: 1 });
  await pass(minuteMs * 35);
  host.usage.delete(vmId);
  await pass(minuteMs);
  assert.equal(phaseOf("demo"), "running");
});

test("a policy of never or manual is left alone, and never is not suspended by a call either", async () => {
  const { spawn, phaseOf, pass, operations } = open();
  await spawn("never", { idlePolicy: { mode: "never" } });
  await spawn("manual", { idlePolicy: { mode: "manual" } });
  await pass(minuteMs * 5);
  assert.deepEqual([phaseOf("never"), phaseOf("manual")], ["running", "running"]);
  assert.equal(await operations.suspend(randomUUID(), "never").catch(reasonOf), "SUSPEND_FORBIDDEN");
  await operations.suspend(randomUUID(), "manual");
});

test("a suspend that fails leaves the tenant running, is recorded, and is tried again later and later", async () => {
  const { host, spawn, phaseOf, pass, told } = open();
  await spawn("demo");
  host.failing.add("createDataKey");
  const tries = () => told.filter((line) => line.startsWith("record SuspendTenant outcome failure")).length;
  const counts: number[] = [];
  for (let minute = 0; minute < 10; minute++) {
    await pass(60_000);
    counts.push(tries());
  }
  assert.deepEqual(counts, [2, 3, 3, 4, 4, 4, 4, 5, 5, 5]);
  assert.equal(phaseOf("demo"), "running");
  host.failing.clear();
  await pass(10 * 60_000);
  assert.equal(phaseOf("demo"), "suspended");
});

test("at most two are suspended at a time, and all are in the end", async () => {
  const gate = Promise.withResolvers<void>();
  const { spawn, idle, clock, tenants, pass } = open({
    observe: async (_moment, step) => {
      if (step === "seal-state") await gate.promise;
    },
  });
  for (const name of ["a", "b", "c", "d"]) await spawn(name);
  await idle.look(signal);
  clock.steadyMs += thresholdMs;
  await idle.look(signal);
  await idle.look(signal);
  const phases = () => tenants.all().map(({ phase }) => phase);
  await settled(() => phases().includes("suspending"));
  assert.equal(phases().filter((phase) => phase === "suspending").length, 2);
  gate.resolve();
  await settled(() => !phases().includes("suspending"));
  await pass(2000);
  assert.deepEqual(phases(), ["suspended", "suspended", "suspended", "suspended"]);
});

test("a host's clock that jumps by a month makes nobody idle", async () => {
  const { spawn, phaseOf, pass, clock } = open();
  await spawn("demo");
  for (const days of [0, 30, -60, 30]) {
    clock.nowMs += days * 24 * hourMs;
    await pass(2000);
  }
  assert.equal(phaseOf("demo"), "running");
});

test("a tenant that was resumed begins anew, and one that has not run for long enough is left", async () => {
  const { host, clock, tenants, holds, operations, spawn, phaseOf, pass } = open();
  await spawn("demo");
  await pass(thresholdMs + 2000);
  await operations.resume(randomUUID(), "demo");
  await pass(thresholdMs - 2000);
  assert.equal(phaseOf("demo"), "running");
  let mayEnd = false;
  const { logger } = captureLogs();
  const held = openIdle({
    ...{ config, tenants, holds, parts: host.parts, operations, logger, record: () => undefined },
    ...{ now: () => clock.steadyMs, wallNow: () => clock.nowMs, hasRunEnough: () => mayEnd },
  });
  const look = async () => {
    clock.steadyMs += thresholdMs;
    await held.look(signal);
    await settled(() => phaseOf("demo") !== "suspending");
  };
  await look();
  await look();
  assert.equal(phaseOf("demo"), "running");
  mayEnd = true;
  await look();
  assert.equal(phaseOf("demo"), "suspended");
});

test("guests that do not answer are asked less often, so that they take no place of others", async () => {
  const { host, idle, clock, spawn } = open();
  const { vmId } = await spawn("silent");
  let asked = 0;
  Object.assign(host.parts.guests, {
    activity: async () => {
      asked += 1;
      throw new Error("silent");
    },
  });
  for (let look = 0; look < 10; look++) {
    clock.steadyMs += 1000;
    await idle.look(signal);
  }
  assert.deepEqual([asked, idle.viewOf(vmId)?.awakeBy], [1, ["unknown"]]);
});
