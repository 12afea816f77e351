import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { createWatchdog } from "../repair/watchdog.ts";
import { migrations } from "../store/schema.ts";
import { createFakeHost } from "./fake-host.ts";
import { config, type RunOptions, startRun, wish } from "./fake-run.ts";
import type { Step } from "./journal.ts";

const withReason = (reason: string) => (error: unknown) => reasonOf(error) === reason;
const suspended = { tenants: "suspend", reason: "new kernel" } as const;
const kept = { tenants: "keep", reason: "" } as const;

async function running(names: readonly string[] = ["a", "b", "c"], options: RunOptions = {}) {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const run = startRun(host, database, { config: { slotCount: 32 }, ...options });
  for (const name of names) await run.operations.spawn(wish(name));
  run.told.length = 0;
  const phases = () => run.tenants.all().map(({ name, phase }) => `${name} ${phase}`);
  return { host, database, run, phases };
}

test("a drained host suspends every tenant, refuses new ones and resumes, and none is evicted", async () => {
  const { run, phases } = await running();
  run.drain.begin(suspended);
  await assert.rejects(run.operations.spawn(wish("d")), withReason("HOST_DRAINING"));
  assert.equal(run.tenants.find("d"), undefined, "before anything is done");
  assert.partialDeepStrictEqual(run.drain.progress(), { activeCount: 3, suspendedCount: 0, isDone: false });
  await run.drain.run();
  assert.deepEqual(phases(), ["a suspended", "b suspended", "c suspended"]);
  const done = { ...suspended, activeCount: 0, suspendedCount: 3, isDone: true, failures: [] };
  assert.partialDeepStrictEqual(run.drain.progress(), done);
  await assert.rejects(run.operations.resume(randomUUID(), "a"), withReason("HOST_DRAINING"));
  await assert.rejects(run.operations.repair("a"), withReason("HOST_DRAINING"));
  assert.deepEqual(phases(), ["a suspended", "b suspended", "c suspended"]);
  assert.equal(run.told[0], "event host-draining suspend");
});

test("undrained it admits tenants again, and the suspended stay so until they are resumed", async () => {
  const { run, phases } = await running(["a"]);
  run.drain.begin(suspended);
  await run.drain.run();
  run.drain.end();
  run.drain.end();
  await run.drain.run();
  assert.deepEqual([run.drain.progress(), phases()], [undefined, ["a suspended"]]);
  await run.operations.resume(randomUUID(), "a");
  await run.operations.spawn(wish("b"));
  assert.equal(run.told.filter((line) => line === "event host-undrained").length, 1);
});

test("a host whose tenants are kept refuses new ones only", async () => {
  const { run, phases } = await running(["a", "b"]);
  assert.equal(run.drain.begin(kept).isDone, true);
  await run.drain.run();
  assert.deepEqual(phases(), ["a running", "b running"]);
  await assert.rejects(run.operations.spawn(wish("c")), withReason("HOST_DRAINING"));
  await run.operations.suspend(randomUUID(), "a");
  await run.operations.resume(randomUUID(), "a");
  const changed = run.drain.begin(suspended);
  assert.deepEqual([changed.tenants, changed.reason], ["suspend", "new kernel"]);
  await run.drain.run();
  assert.deepEqual(phases(), ["a suspended", "b suspended"]);
});

test("a drain outlives vm, with its start", async () => {
  const { host, database, run } = await running(["a"]);
  const { startTimeMs } = run.drain.begin(suspended);
  const next = startRun(host, database);
  next.clock.nowMs += 5_000;
  await assert.rejects(next.operations.spawn(wish("b")), withReason("HOST_DRAINING"));
  await next.drain.run();
  assert.partialDeepStrictEqual(next.drain.progress(), { startTimeMs, isDone: true });
  assert.equal(next.drain.begin(kept).startTimeMs, startTimeMs);
});

/** Has tenant `b` fail in the middle of each suspend; counts how often. */
async function failing() {
  const subject = await running();
  const { prepareSuspend } = subject.host.parts.guests;
  const state = { isFailing: true, tries: 0 };
  Object.assign(subject.host.parts.guests, {
    prepareSuspend: async (...given: Parameters<typeof prepareSuspend>) => {
      if (given[0].name !== "b") return await prepareSuspend(...given);
      state.tries++;
      if (state.isFailing) throw new Error("busy");
      return await prepareSuspend(...given);
    },
  });
  return { ...subject, state };
}

test("a tenant that refuses to sleep is told, holds up nobody, and is tried again", async () => {
  const { run, phases, state } = await failing();
  run.drain.begin(suspended);
  await run.drain.run();
  assert.deepEqual(phases(), ["a suspended", "b running", "c suspended"]);
  assert.partialDeepStrictEqual(run.drain.progress(), {
    ...{ isDone: false, activeCount: 1, failures: [{ tenant: "b", reason: "INTERNAL" }] },
  });
  state.isFailing = false;
  run.clock.steadyMs += 30_000;
  await run.drain.run();
  assert.partialDeepStrictEqual(run.drain.progress(), { isDone: true, failures: [] });
});

test("a tenant that cannot be suspended is left alone for longer and longer, until a drain is asked for again", async () => {
  const { run, state } = await failing();
  run.drain.begin(suspended);
  /** Tries until `ms` have passed, in steps of the reconciler. */
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 10_000) {
      await run.drain.run();
      run.clock.steadyMs += 10_000;
    }
    return state.tries;
  };
  assert.deepEqual([await pass(30_000), await pass(60_000), await pass(120_000)], [1, 2, 3]);
  assert.equal(await pass(3 * 3_600_000), 9, "at 0, 4, 12, 28, 60 and 120 minutes");
  run.drain.begin(suspended);
  assert.partialDeepStrictEqual(run.drain.progress(), { failures: [{ tenant: "b", reason: "INTERNAL" }] });
  assert.deepEqual([await pass(30_000), await pass(60_000)], [10, 11]);
});

/** Holds every operation at `step`. */
function holdingAt(step: Step) {
  const go = Promise.withResolvers<void>();
  let reached = 0;
  const observe = async (moment: string, name: Step) => {
    if (moment !== "started" || name !== step) return;
    reached++;
    await go.promise;
  };
  return { observe, go: go.resolve, reached: () => reached };
}

test("a spawn that was under way is suspended like any other once it runs", async () => {
  const held = holdingAt("publish-route");
  const { run, phases } = await running([], { observe: held.observe });
  const spawning = run.operations.spawn(wish("late"));
  while (held.reached() === 0) await new Promise(setImmediate);
  run.drain.begin(suspended);
  await run.drain.run();
  assert.partialDeepStrictEqual(run.drain.progress(), { activeCount: 1, isDone: false });
  held.go();
  await spawning;
  await run.drain.run();
  assert.deepEqual([phases(), run.drain.progress()?.isDone], [["late suspended"], true]);
});

test("two at most are suspended at once, and an undrain in between lets the rest run on", async () => {
  const held = holdingAt("seal-state");
  const names = ["a", "b", "c", "d", "e"];
  const { run, phases } = await running(names, { observe: held.observe });
  run.drain.begin(suspended);
  const first = run.drain.run();
  for (let turn = 0; turn < 200; turn++) await new Promise(setImmediate);
  assert.equal(held.reached(), 2);
  assert.equal(run.drain.run(), first, "a run that is under way is shared");
  run.drain.end();
  held.go();
  await first;
  assert.deepEqual(phases(), ["a suspended", "b suspended", "c running", "d running", "e running"]);
});

test("a host that is drained brings no FAILED tenant back", async () => {
  const { host, run, phases } = await running(["a"]);
  const vmId = run.tenants.find("a")?.vmId ?? "";
  run.tenants.markFailed(vmId, "VMM_EXITED");
  host.vmm.exit(vmId);
  run.drain.begin(suspended);
  const watchdog = createWatchdog(run.life, { ...config, spreadMs: 0 });
  await watchdog.sweep();
  await watchdog.settled();
  assert.deepEqual([phases(), run.drain.progress()?.isDone], [["a failed"], true]);
  run.drain.end();
  await watchdog.sweep();
  await watchdog.settled();
  assert.deepEqual(phases(), ["a running"]);
});
