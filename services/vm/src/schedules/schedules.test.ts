import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { ScheduledRunSchema, ScheduleKind } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { type RunOptions, startRun, wish } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

function over(host = createFakeHost(), database = openDatabase(":memory:", migrations), options: RunOptions = {}) {
  const run = startRun(host, database, options);
  const phaseOf = (name: string) => run.tenants.find(name)?.phase;
  const toldOf = (outcome: RegExp) =>
    run.told.filter((line) => outcome.test(line.replace(/^record ResumeTenant /, ""))).length;
  const begun = () => toldOf(/^intent /);
  const ended = () => toldOf(/^outcome (success SCHEDULE|failure) /);
  /** Lets time pass and looks once at what is due, as the service does each second. */
  const pass = async (ms: number) => {
    run.clock.nowMs += ms;
    run.clock.steadyMs += Math.max(0, ms);
    run.waker.wakeDue();
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
    const isUnderWay = () => begun() > ended() || run.tenants.all().some(({ phase }) => phase === "resuming");
    while (isUnderWay()) await new Promise(setImmediate);
  };
  /** A tenant that sleeps, and whose workload wants to run at these times. */
  const asleep = async (name: string, ...aheadMs: readonly number[]) => {
    const idlePolicy = { mode: "after", thresholdMs: 10_000 } as const;
    const { vmId } = await run.operations.spawn({ ...wish(name), idlePolicy });
    run.clock.nowMs += 10 * minuteMs;
    const nextRuns = aheadMs.map((ms) =>
      create(ScheduledRunSchema, { kind: ScheduleKind.CRON, time: timestampFromMs(run.clock.nowMs + ms) }),
    );
    host.claims.set(vmId, { nextRuns });
    await run.operations.suspend(randomUUID(), name);
    return vmId;
  };
  const wakes = () => run.told.filter((line) => line.startsWith("record ResumeTenant outcome success SCHEDULE"));
  return { ...run, host, database, phaseOf, pass, asleep, wakes };
}

test("a tenant is resumed 15 s ahead of its earliest run, to the second, and event and records say why", async () => {
  const { asleep, pass, phaseOf, told, tenants } = over();
  await asleep("demo", 60 * minuteMs, 5 * minuteMs);
  told.length = 0;
  await pass(5 * minuteMs - 15_001);
  assert.equal(phaseOf("demo"), "suspended");
  await pass(1);
  assert.deepEqual([phaseOf("demo"), tenants.find("demo")?.sleepCause], ["running", "schedule"]);
  assert.deepEqual(told, [
    "record ResumeTenant intent unspecified  demo",
    "record ConsumeState outcome success  demo",
    "event resumed demo by schedule",
    "event woken demo schedule",
    "record ResumeTenant outcome success SCHEDULE demo",
  ]);
});

test("a run a year ahead fires once, and not before: no timer is as long as it", async () => {
  const { asleep, pass, phaseOf, wakes } = over();
  await asleep("demo", 365 * dayMs);
  for (let day = 0; day < 364; day++) await pass(dayMs);
  assert.equal(phaseOf("demo"), "suspended");
  await pass(dayMs);
  assert.deepEqual([phaseOf("demo"), wakes().length], ["running", 1]);
});

test("what is due during an outage is woken once after it, by the next vm", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-schedules-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "vm.sqlite");
  const host = createFakeHost();
  const first = over(host, openDatabase(path, migrations));
  await first.asleep("demo", 5 * minuteMs, 6 * minuteMs, 7 * minuteMs);
  first.database.close();
  const second = over(host, openDatabase(path, migrations));
  second.clock.nowMs = first.clock.nowMs;
  await second.pass(30 * dayMs);
  await second.pass(1000);
  assert.deepEqual([second.phaseOf("demo"), second.wakes().length], ["running", 1]);
});

test("vm dying in the middle of a wake neither loses nor repeats it", async () => {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const dying = over(host, database, {
    observe: async (moment, step) => {
      if (step === "load-state" && moment === "started") await new Promise(() => undefined);
    },
  });
  await dying.asleep("demo", 5 * minuteMs);
  dying.clock.nowMs += 5 * minuteMs;
  dying.waker.wakeDue();
  while (dying.phaseOf("demo") !== "resuming") await new Promise(setImmediate);
  const next = over(host, database);
  next.clock.nowMs = dying.clock.nowMs;
  await next.operations.reconcile();
  assert.equal(next.phaseOf("demo"), "suspended");
  await next.pass(1000);
  await next.pass(1000);
  assert.deepEqual([next.phaseOf("demo"), next.wakes().length], ["running", 1]);
});

test("a clock that jumps a month ahead wakes once, and one that jumps back loses no wake", async () => {
  const { asleep, pass, phaseOf, wakes } = over();
  await asleep("ahead", 20 * dayMs);
  await pass(30 * dayMs);
  assert.deepEqual([phaseOf("ahead"), wakes().length], ["running", 1]);
  await asleep("back", 5 * minuteMs);
  await pass(-30 * dayMs);
  assert.equal(phaseOf("back"), "suspended");
  await pass(30 * dayMs + 5 * minuteMs);
  assert.deepEqual([phaseOf("back"), wakes().length], ["running", 2]);
});

test("a wake under a clock that was a month ahead keeps no later one from its tenant, and repeats none", async () => {
  const { asleep, pass, wakes, operations, host, clock } = over();
  const vmId = await asleep("demo", 5 * minuteMs);
  await pass(30 * dayMs);
  assert.equal(wakes().length, 1);
  clock.nowMs -= 30 * dayMs;
  const runIn = (ms: number) =>
    create(ScheduledRunSchema, { kind: ScheduleKind.CRON, time: timestampFromMs(clock.nowMs + ms) });
  host.claims.set(vmId, { nextRuns: [runIn(5 * minuteMs)] });
  await operations.suspend(randomUUID(), "demo");
  await pass(5 * minuteMs);
  assert.equal(wakes().length, 2);
  await operations.suspend(randomUUID(), "demo");
  await pass(dayMs);
  assert.equal(wakes().length, 2, "a run that stays in the schedule has had its wake");
});

test("a run that has passed and stays in the schedule wakes its tenant once and never again", async () => {
  const { asleep, pass, phaseOf, wakes, operations } = over();
  await asleep("demo", -1000);
  await pass(10_000);
  assert.deepEqual([phaseOf("demo"), wakes().length], ["running", 1]);
  for (let cycle = 0; cycle < 3; cycle++) {
    await operations.suspend(randomUUID(), "demo");
    await pass(dayMs);
    assert.deepEqual([phaseOf("demo"), wakes().length], ["suspended", 1]);
    await operations.resume(randomUUID(), "demo");
  }
});

test("who resumes a tenant before its time ends its wake, and its next suspend reads its schedule anew", async () => {
  const { asleep, pass, phaseOf, tenants, operations, host, wakes } = over();
  const vmId = await asleep("demo", 5 * minuteMs);
  assert.notEqual(tenants.find("demo")?.wakeTimeMs, undefined);
  await operations.resume(randomUUID(), "demo");
  assert.equal(tenants.find("demo")?.wakeTimeMs, undefined);
  await pass(10 * minuteMs);
  host.claims.delete(vmId);
  await operations.suspend(randomUUID(), "demo");
  await pass(dayMs);
  assert.deepEqual([phaseOf("demo"), wakes().length], ["suspended", 0]);
});

test("a suspend that fails has left nothing to wake for", async () => {
  const { host, tenants, asleep, operations, pass, wakes } = over();
  await asleep("demo", 5 * minuteMs);
  await operations.resume(randomUUID(), "demo");
  host.failing.add("save");
  await assert.rejects(operations.suspend(randomUUID(), "demo"));
  const { phase, wakeTimeMs } = tenants.find("demo") ?? {};
  assert.deepEqual([phase, wakeTimeMs], ["running", undefined]);
  await pass(10 * minuteMs);
  assert.deepEqual(wakes(), []);
});

test("a wake that fails is tried again later and later, and holds up nobody else's", async () => {
  const { host, asleep, pass, phaseOf, told } = over();
  const vmId = await asleep("broken", 5 * minuteMs);
  await asleep("whole", 60 * minuteMs);
  await host.files.remove(vmId);
  const failures = () =>
    told.filter((line) => line === "record ResumeTenant outcome failure STATE_BROKEN broken").length;
  const counts: number[] = [];
  for (let minute = 0; minute < 10; minute++) {
    await pass(30_000);
    await pass(30_000);
    counts.push(failures());
  }
  assert.deepEqual(counts, [2, 3, 3, 4, 4, 4, 4, 5, 5, 5]);
  await pass(50 * minuteMs);
  assert.deepEqual([phaseOf("broken"), phaseOf("whole")], ["suspended", "running"]);
});

test("a wake waits for audit: without it the tenant stays suspended, and is woken when it is back", async () => {
  const audit = { isAway: true };
  const { asleep, pass, phaseOf, told } = over(createFakeHost(), openDatabase(":memory:", migrations), {
    sink: {
      append: async () => {
        if (audit.isAway) throw new Error("audit is away");
      },
    },
  });
  await asleep("demo", 5 * minuteMs);
  told.length = 0;
  await pass(5 * minuteMs);
  assert.deepEqual([phaseOf("demo"), told], ["suspended", []]);
  audit.isAway = false;
  await pass(30_000);
  assert.equal(phaseOf("demo"), "running");
});

test("an evicted tenant's wake goes with it", async () => {
  const { asleep, pass, operations, told, tenants } = over();
  await asleep("demo", 5 * minuteMs);
  await operations.evict(randomUUID(), "demo");
  told.length = 0;
  await pass(dayMs);
  assert.deepEqual([told, tenants.all()], [[], []]);
});

test("a tenant that is woken is left the time to see its run, and sleeps again after it", async () => {
  const { asleep, pass, phaseOf, idle, clock } = over();
  const { signal } = new AbortController();
  await asleep("demo", 5 * minuteMs);
  await pass(5 * minuteMs - 15_000);
  const awakeMs = clock.nowMs;
  while (phaseOf("demo") === "running" && clock.nowMs < awakeMs + 10 * minuteMs) {
    clock.nowMs += 2000;
    clock.steadyMs += 2000;
    await idle.look(signal);
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  }
  const awakeForMs = clock.nowMs - awakeMs;
  // Lead, grace and threshold.
  assert.ok(awakeForMs >= 100_000 - 2000 && awakeForMs <= 100_000 + 4000, `${awakeForMs} ms`);
});

test("only a suspended tenant is resumed by its schedule", async () => {
  const { tenants, operations } = over();
  await operations.spawn(wish("demo"));
  assert.deepEqual(tenants.dueWakes(Number.MAX_SAFE_INTEGER), []);
  assert.equal(
    await operations.resume(randomUUID(), "demo", { cause: "schedule" }).catch(reasonOf),
    "TENANT_NOT_SUSPENDED",
  );
});
