import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { Writable } from "node:stream";
import { Readable } from "node:stream";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { migrations } from "../store/schema.ts";
import type { VmStart } from "../vmm/port.ts";
import type { Failure } from "./fake-failures.ts";
import { createFakeHost, type FakeHost } from "./fake-host.ts";
import { config, startRun, wish } from "./fake-run.ts";
import { resumeSteps, type Step, suspendSteps } from "./journal.ts";

type Run = ReturnType<typeof startRun>;

const memory = () => openDatabase(":memory:", migrations);
const withReason = (reason: string) => (error: unknown) => reasonOf(error) === reason;
const suspend = ({ operations }: Run) => operations.suspend(randomUUID(), "demo");
const resume = ({ operations }: Run) => operations.resume(randomUUID(), "demo");
const sealedDir = (host: FakeHost) => join(host.directory, "sealed");
const kinds = async (host: FakeHost) => (await host.inventory()).map((line) => line.split(" ")[0]);

/** A running tenant with a word in its memory that no boot would find again. */
async function running(host: FakeHost, database: DatabaseSync, options: Parameters<typeof startRun>[2] = {}) {
  const run = startRun(host, database, options);
  const { vmId } = await run.operations.spawn(wish("demo"));
  host.vmm.writeMemory(vmId, "canary-in-memory");
  return { run, vmId };
}

/** Fails unless the tenant is running or suspended, wholly and with its memory. Returns which. */
async function requireOneOfTwo(host: FakeHost, run: Run, vmId: string): Promise<"running" | "suspended"> {
  const tenant = run.tenants.find("demo");
  assert.deepEqual(run.journal.open(), []);
  if (tenant?.phase === "running") {
    assert.ok(host.vmm.guestRuns(vmId));
    assert.equal(host.vmm.memory(vmId), "canary-in-memory");
    assert.deepEqual(host.guests.get(vmId), { generation: tenant.generation, isQuiesced: false });
    assert.deepEqual(await kinds(host), ["identity", "microvm", "network", "route"]);
    assert.equal(run.sealedStates.find(vmId), undefined);
    return "running";
  }
  assert.equal(tenant?.phase, "suspended");
  assert.equal((await host.parts.vmm.list())[0]?.state, "exited");
  assert.deepEqual(await kinds(host), ["asleep-route", "identity", "microvm", "sealed"]);
  return "suspended";
}

test("a suspended tenant is a sealed file and a disk, and resumed it has its memory and the next generation", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  const suspended = await suspend(run);
  assert.equal(suspended.phase, "suspended");
  assert.equal(await requireOneOfTwo(host, run, vmId), "suspended");
  const [name = ""] = readdirSync(sealedDir(host));
  const path = join(sealedDir(host), name);
  assert.equal(name, `${vmId}-1.sealed`);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(readFileSync(path).includes("canary-in-memory"), false);
  const resumed = await resume(run);
  assert.deepEqual([resumed.phase, resumed.generation, resumed.slot], ["running", 2, suspended.slot]);
  assert.equal(await requireOneOfTwo(host, run, vmId), "running");
  await suspend(run);
  assert.deepEqual(readdirSync(sealedDir(host)), [`${vmId}-2.sealed`]);
  assert.equal((await resume(run)).generation, 3);
  assert.deepEqual(run.told, [
    "event spawned demo",
    "record SealState outcome success  demo",
    "event suspended demo",
    "record ConsumeState outcome success  demo",
    "event resumed demo",
    "record SealState outcome success  demo",
    "event suspended demo",
    "record ConsumeState outcome success  demo",
    "event resumed demo",
  ]);
});

test("who is in the wrong state is told so, and the request that brought a tenant there gets it again", async () => {
  const host = createFakeHost();
  const { run } = await running(host, memory());
  await assert.rejects(resume(run), withReason("TENANT_NOT_SUSPENDED"));
  await assert.rejects(run.operations.suspend(randomUUID(), "other"), withReason("TENANT_NOT_FOUND"));
  await assert.rejects(run.operations.resume(randomUUID(), "other"), withReason("TENANT_NOT_FOUND"));
  const requestId = randomUUID();
  const [first, second] = await Promise.allSettled([run.operations.suspend(requestId, "demo"), suspend(run)]);
  assert.equal(first.status, "fulfilled");
  assert.ok(second.status === "rejected" && reasonOf(second.reason) === "TENANT_NOT_RUNNING");
  assert.equal((await run.operations.suspend(requestId, "demo")).phase, "suspended");
  await assert.rejects(suspend(run), withReason("TENANT_NOT_RUNNING"));
  const waking = randomUUID();
  await run.operations.resume(waking, "demo");
  assert.equal((await run.operations.resume(waking, "demo")).generation, 2);
});

for (const failure of ["sleepRoute", "prepareSuspend", "save", "createDataKey"] as const) {
  test(`a suspend whose ${failure} fails after its effect leaves the tenant running`, async () => {
    const host = createFakeHost();
    const { run, vmId } = await running(host, memory());
    host.failing.add(failure);
    await assert.rejects(suspend(run));
    assert.equal(await requireOneOfTwo(host, run, vmId), "running");
    host.failing.clear();
    await suspend(run);
    assert.equal(await requireOneOfTwo(host, run, vmId), "suspended");
  });
}

for (const failure of ["stop", "detachNetwork"] as const) {
  test(`a suspend whose ${failure} fails once the state is sealed is finished later, and the guest never runs again`, async () => {
    const host = createFakeHost();
    const { run, vmId } = await running(host, memory());
    host.failing.add(failure);
    await assert.rejects(suspend(run), withReason("SUSPEND_INCOMPLETE"));
    await run.operations.reconcile();
    assert.equal(run.tenants.find("demo")?.phase, "suspending");
    host.failing.clear();
    await run.operations.reconcile();
    assert.equal(await requireOneOfTwo(host, run, vmId), "suspended");
    await resume(run);
    assert.equal(await requireOneOfTwo(host, run, vmId), "running");
  });
}

for (const failure of ["unwrapDataKey", "attachNetwork", "load"] as const) {
  test(`a resume whose ${failure} fails leaves the tenant suspended, and it can be resumed again`, async () => {
    const host = createFakeHost();
    const { run, vmId } = await running(host, memory());
    await suspend(run);
    host.failing.add(failure);
    await assert.rejects(resume(run));
    assert.equal(await requireOneOfTwo(host, run, vmId), "suspended");
    host.failing.clear();
    assert.equal((await resume(run)).generation, 3, "a generation is given out once");
    assert.equal(await requireOneOfTwo(host, run, vmId), "running");
  });
}

for (const failure of ["renewGuestIdentity", "injectSecrets", "publishRoute"] as const) {
  test(`a resume whose ${failure} fails keeps the guest and its memory until the service is back`, async () => {
    const host = createFakeHost();
    const { run, vmId } = await running(host, memory());
    await suspend(run);
    host.failing.add(failure);
    await assert.rejects(resume(run), withReason("RESUME_INCOMPLETE"));
    assert.equal(run.tenants.find("demo")?.phase, "resuming");
    await run.operations.reconcile();
    host.failing.clear();
    await run.operations.reconcile();
    assert.equal(await requireOneOfTwo(host, run, vmId), "running");
  });
}

for (const failure of ["takeGeneration", "completeResume"] as const) {
  test(`a guest whose ${failure} fails is booted from its disk under a new generation`, async () => {
    const host = createFakeHost();
    const { run, vmId } = await running(host, memory());
    await suspend(run);
    host.failing.add(failure);
    const resumed = await resume(run);
    assert.deepEqual([resumed.phase, resumed.generation], ["running", 3]);
    assert.notEqual(host.vmm.memory(vmId), "canary-in-memory");
    assert.deepEqual(await kinds(host), ["identity", "microvm", "network", "route"]);
    assert.equal(run.told.at(-1), "event resumed demo fresh");
  });
}

test("a guest is found again under the generation that it took, however often a service fails before and after", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  await suspend(run);
  host.failing.add("injectSecrets");
  await assert.rejects(resume(run), withReason("RESUME_INCOMPLETE"));
  host.failing.clear();
  host.failing.add("renewGuestIdentity");
  for (let round = 0; round < 20; round++) await run.operations.reconcile();
  host.failing.clear();
  await run.operations.reconcile();
  assert.equal(await requireOneOfTwo(host, run, vmId), "running");
});

test("a tenant that neither wakes nor boots is failed, keeps its disk and can be evicted", async () => {
  const host = createFakeHost();
  const { run } = await running(host, memory());
  await suspend(run);
  host.failing.add("takeGeneration").add("awaitAgent");
  await assert.rejects(resume(run), withReason("RESUME_FAILED"));
  assert.equal(run.tenants.find("demo")?.failureReason, "RESUME_FAILED");
  assert.equal((await host.parts.vmm.list())[0]?.state, "exited");
  await run.operations.evict(randomUUID(), "demo");
  assert.deepEqual(await host.inventory(), []);
});

test("a service that stays away is waited for within a bound", async () => {
  const host = createFakeHost();
  const { run } = await running(host, memory());
  await suspend(run);
  host.failing.add("injectSecrets");
  await assert.rejects(resume(run), withReason("RESUME_INCOMPLETE"));
  run.clock.steadyMs += config.resumeLimitMs + 1;
  await run.operations.reconcile();
  assert.equal(run.tenants.find("demo")?.phase, "failed");
});

test("a save that takes longer than a suspend may is told by that limit, and the tenant goes on", async () => {
  const host = createFakeHost();
  const run = startRun(host, memory(), { config: { suspendLimitMs: 50 } });
  const { vmId } = await run.operations.spawn(wish("demo"));
  const memoryBefore = host.vmm.memory(vmId);
  Object.assign(host.parts.vmm, {
    save: (_vmId: string, sink: Writable) => new Promise((_resolve, reject) => void sink.once("error", reject)),
  });
  await assert.rejects(suspend(run), withReason("SUSPEND_LIMIT_EXCEEDED"));
  assert.deepEqual([run.tenants.find("demo")?.phase, host.vmm.memory(vmId)], ["running", memoryBefore]);
});

test("a tenant that is its sealed file is neither woken where it is nor suspended again, whoever asks", async () => {
  const { run } = await running(createFakeHost(), memory());
  const suspended = await suspend(run);
  assert.throws(() => run.journal.beginWake(suspended), /is its sealed state/);
  assert.throws(
    () => run.journal.beginSuspend(suspended, { requestId: randomUUID(), cause: "request" }),
    /is its sealed state/,
  );
  assert.deepEqual([run.tenants.find("demo"), run.journal.open()], [suspended, []]);
});

test("a time in which nobody waited costs no memory: vm was down, or its clock was set", async () => {
  const host = createFakeHost();
  const database = memory();
  const { run, vmId } = await running(host, database);
  await suspend(run);
  host.failing.add("injectSecrets");
  await assert.rejects(resume(run), withReason("RESUME_INCOMPLETE"));
  run.clock.nowMs += config.resumeLimitMs + 1;
  await run.operations.reconcile();
  assert.equal(run.tenants.find("demo")?.phase, "resuming");
  const later = startRun(host, database);
  later.clock.nowMs = run.clock.nowMs + config.resumeLimitMs + 1;
  await later.operations.reconcile();
  assert.equal(later.tenants.find("demo")?.phase, "resuming");
  host.failing.clear();
  await later.operations.reconcile();
  assert.equal(await requireOneOfTwo(host, later, vmId), "running");
});

/** Runs until `step` is at `moment`, and never goes on from there. */
function dyingAt(moment: "started" | "done", step: Step) {
  const reached = Promise.withResolvers<void>();
  const observe = async (at: "started" | "done", name: Step) => {
    if (at !== moment || name !== step) return;
    reached.resolve();
    await new Promise(() => undefined);
  };
  return { reached: reached.promise, observe };
}

const failingAt = (moment: "started" | "done", step: Step) => async (at: "started" | "done", name: Step) => {
  if (at === moment && name === step) throw new Error("told to fail");
};

for (const moment of ["started", "done"] as const) {
  for (const step of suspendSteps) {
    test(`vm dying when ${step} of a suspend is ${moment} leaves one tenant with its memory`, async () => {
      const host = createFakeHost();
      const database = memory();
      const { reached, observe } = dyingAt(moment, step);
      const { run, vmId } = await running(host, database, { observe });
      void suspend(run);
      await reached;
      const next = startRun(host, database);
      await next.operations.reconcile();
      const state = await requireOneOfTwo(host, next, vmId);
      const isSealed = ["stop-microvm", "detach-network"].includes(step);
      assert.equal(state, isSealed ? "suspended" : "running");
      await (state === "running" ? suspend(next) : resume(next));
      await requireOneOfTwo(host, next, vmId);
    });

    test(`a suspend that fails when ${step} is ${moment} leaves one tenant with its memory`, async () => {
      const host = createFakeHost();
      const { run, vmId } = await running(host, memory(), { observe: failingAt(moment, step) });
      await assert.rejects(suspend(run));
      const isSealed = ["stop-microvm", "detach-network"].includes(step);
      if (!isSealed) assert.equal(await requireOneOfTwo(host, run, vmId), "running");
      else assert.equal(run.tenants.find("demo")?.phase, "suspending");
    });
  }

  for (const step of resumeSteps) {
    test(`vm dying when ${step} of a resume is ${moment} leaves one tenant with its memory`, async () => {
      const host = createFakeHost();
      const database = memory();
      const { run, vmId } = await running(host, database);
      await suspend(run);
      const { reached, observe } = dyingAt(moment, step);
      void resume(startRun(host, database, { observe }));
      await reached;
      const next = startRun(host, database);
      await next.operations.reconcile();
      const state = await requireOneOfTwo(host, next, vmId);
      const isBefore = ["open-state", "join-network", "load-state"].includes(step);
      assert.equal(state, isBefore ? "suspended" : "running");
      await (state === "running" ? suspend(next) : resume(next));
      await requireOneOfTwo(host, next, vmId);
    });
  }
}

test("the state is used up before the loaded guest runs its first instruction", async () => {
  const host = createFakeHost();
  const database = memory();
  const seen: unknown[] = [];
  const { run, vmId } = await running(host, database);
  await suspend(run);
  const second = startRun(host, database, {
    observe: async (moment, step) => {
      if (step === "load-state" && moment === "done")
        seen.push(host.vmm.guestRuns(vmId), run.sealedStates.find(vmId)?.counter);
      if (step === "run-guest" && moment === "started")
        seen.push(host.vmm.guestRuns(vmId), run.sealedStates.find(vmId));
    },
  });
  await resume(second);
  assert.deepEqual(seen, [false, 1, false, undefined]);
  assert.deepEqual(readdirSync(sealedDir(host)), []);
});

/** A copy of everything that a tenant's sleep is made of, as somebody who owns the disk has it. */
function copySealed(host: FakeHost, name: string): void {
  const [file = ""] = readdirSync(sealedDir(host));
  mkdirSync(join(host.directory, "kept"), { recursive: true });
  copyFileSync(join(sealedDir(host), file), join(host.directory, "kept", name));
}

test("an older file of the tenant in place of its last one is a rollback, with an alarm, and the last one still loads", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  await suspend(run);
  copySealed(host, "first");
  await resume(run);
  await suspend(run);
  copySealed(host, "second");
  const path = join(sealedDir(host), `${vmId}-2.sealed`);
  copyFileSync(join(host.directory, "kept", "first"), path);
  run.told.length = 0;
  await assert.rejects(resume(run), withReason("ROLLBACK"));
  assert.deepEqual(run.told.slice(0, 2), [
    "event sealed-state-refused demo ROLLBACK",
    "record LoadState outcome failure ROLLBACK demo",
  ]);
  assert.equal(run.tenants.find("demo")?.phase, "suspended");
  copyFileSync(join(host.directory, "kept", "second"), path);
  await resume(run);
  assert.equal(await requireOneOfTwo(host, run, vmId), "running");
});

test("yesterday's file with yesterday's database and audit log is a rollback too: the launcher has seen a later generation", async () => {
  const host = createFakeHost();
  const database = memory();
  const { run, vmId } = await running(host, database);
  await suspend(run);
  copySealed(host, "first");
  const generation = run.tenants.find("demo")?.generation ?? 0;
  const wrapped = run.sealedStates.find(vmId)?.wrappedKey ?? new Uint8Array();
  await resume(run);
  await suspend(run);
  await resume(run);
  await suspend(run);
  // The rows as they were.
  database.exec("DELETE FROM sealed_state");
  database
    .prepare("UPDATE tenant SET generation = ?, settled_generation = ?, seal_counter = 1")
    .run(generation, generation);
  database.prepare("INSERT INTO sealed_state VALUES (?, 1, ?, ?)").run(vmId, generation, wrapped);
  copyFileSync(join(host.directory, "kept", "first"), join(sealedDir(host), `${vmId}-1.sealed`));
  host.audited.length = 1;
  run.told.length = 0;
  await assert.rejects(resume(run), withReason("ROLLBACK"));
  assert.equal(run.told[1], "record LoadState outcome failure ROLLBACK demo");
  assert.ok((await host.parts.vmm.list()).every(({ state }) => state === "exited"));
});

test("a whole host of yesterday is a rollback too: the audit log knows a later state", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  await suspend(run);
  host.audited.push(...host.audited.map((entry) => ({ ...entry, resource: `${vmId}-2` })));
  run.told.length = 0;
  await assert.rejects(resume(run), withReason("ROLLBACK"));
  assert.equal(run.told[1], "record LoadState outcome failure ROLLBACK demo");
  assert.equal(await requireOneOfTwo(host, run, vmId), "suspended");
});

test("a state that the audit log knows as used up is a rollback, and one of another microVM of the name says nothing", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  await suspend(run);
  const [sealed] = host.audited;
  assert.ok(sealed);
  host.audited.push({ ...sealed, action: "ConsumeState" });
  await assert.rejects(resume(run), withReason("ROLLBACK"));
  host.audited.push({ ...sealed, action: "ConsumeState", resource: `${"0".repeat(32)}-9` });
  await resume(run);
  assert.equal(await requireOneOfTwo(host, run, vmId), "running");
});

for (const [what, change] of [
  ["a bit changed", (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -1), Buffer.of((bytes.at(-1) ?? 0) ^ 1)])],
  ["a byte cut", (bytes: Buffer) => bytes.subarray(0, -1)],
  ["nothing left", () => Buffer.alloc(0)],
] as const) {
  test(`a sealed file with ${what} is refused with an alarm and nothing of it is loaded`, async () => {
    const host = createFakeHost();
    const { run, vmId } = await running(host, memory());
    await suspend(run);
    const path = join(sealedDir(host), `${vmId}-1.sealed`);
    writeFileSync(path, change(readFileSync(path)));
    await assert.rejects(resume(run), withReason("STATE_BROKEN"));
    assert.ok(run.told.includes("record LoadState outcome failure STATE_BROKEN demo"));
    assert.equal(await requireOneOfTwo(host, run, vmId), "suspended");
  });
}

test("a VMM starts while the state is opened, and gets none of it before the last tag has passed", async () => {
  const host = createFakeHost();
  const [started, read] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let taken = 0;
  const { load } = host.parts.vmm;
  const counted = async function* (state: Readable) {
    for await (const piece of state) {
      taken += piece.length;
      yield piece;
    }
    read.resolve();
  };
  Object.assign(host.parts.vmm, {
    load: (start: VmStart, state: Readable) => {
      started.resolve();
      return load(start, Readable.from(counted(state)));
    },
  });
  const seen: number[] = [];
  const { run } = await running(host, memory(), {
    observe: async (moment, step) => {
      if (moment !== "done" || step !== "open-state") return;
      await Promise.all([started.promise, Promise.race([read.promise, delay(200)])]);
      seen.push(taken);
    },
  });
  await suspend(run);
  await resume(run);
  assert.deepEqual(seen, [0]);
  assert.ok(taken > 0);
});

test("on another machine a state is not loaded, and on its own again it is", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  await suspend(run);
  for (const fact of ["cpuModel", "microcode", "hostKernel"] as const) {
    const own = host.facts[fact];
    host.facts[fact] = "other";
    await assert.rejects(resume(run), withReason("MACHINE_DIFFERS"));
    host.facts[fact] = own;
  }
  await resume(run);
  assert.equal(await requireOneOfTwo(host, run, vmId), "running");
});

test("a state that cannot be loaded is given up when somebody says so, and its disk boots", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  const { generation } = await suspend(run);
  host.facts.hostKernel = "other";
  await assert.rejects(resume(run), withReason("MACHINE_DIFFERS"));
  copySealed(host, "kept");
  const booted = await run.operations.resume(randomUUID(), "demo", { discardsMemory: true });
  assert.deepEqual([booted.phase, booted.vmId], ["running", vmId]);
  assert.ok(booted.generation > generation);
  assert.notEqual(host.vmm.memory(vmId), "canary-in-memory");
  assert.deepEqual(readdirSync(sealedDir(host)), []);
  assert.ok(run.told.includes("record ConsumeState outcome success  demo"));
  await assert.rejects(
    run.operations.resume(randomUUID(), "demo", { discardsMemory: true }),
    withReason("TENANT_NOT_SUSPENDED"),
  );
});

test("an eviction of a suspended tenant leaves no file, and a copy of it opens for nobody", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  await suspend(run);
  copySealed(host, "kept");
  const wrappedKey = run.sealedStates.find(vmId)?.wrappedKey ?? new Uint8Array();
  await run.operations.evict(randomUUID(), "demo");
  assert.deepEqual(await host.inventory(), []);
  assert.ok(existsSync(join(host.directory, "kept", "kept")));
  const object = { tenant: "demo", purpose: "snapshot", objectId: `${vmId}-1` };
  await assert.rejects(host.parts.secrets.unwrapDataKey({ ...object, wrappedKey }));
});

const lateFailures: readonly [Step, "suspend" | "resume"][] = [
  ["quiesce-guest", "suspend"],
  ["seal-state", "suspend"],
  ["detach-network", "suspend"],
  ["open-state", "resume"],
  ["load-state", "resume"],
  ["renew-identity", "resume"],
];
for (const [step, verb] of lateFailures) {
  test(`an eviction that comes when ${step} of a ${verb} begins ends it and leaves nothing`, async () => {
    const host = createFakeHost();
    const reached = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const { run } = await running(host, memory(), {
      observe: async (at, name) => {
        if (at !== "started" || name !== step) return;
        reached.resolve();
        await go.promise;
      },
    });
    const work = verb === "suspend" ? suspend(run) : suspend(run).then(() => resume(run));
    const ended = assert.rejects(work, withReason("TENANT_BUSY"));
    await reached.promise;
    const evicting = run.operations.evict(randomUUID(), "demo");
    go.resolve();
    await Promise.all([ended, evicting]);
    assert.deepEqual(await host.inventory(), []);
    assert.equal(run.tenants.find("demo"), undefined);
  });
}

test("reconcile leaves a suspended tenant alone and removes files that are nobody's memory", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  await suspend(run);
  for (const name of [`${vmId}-7.sealed`, `${vmId}-1.sealed.partial`, `${"f".repeat(32)}-1.sealed`])
    writeFileSync(join(sealedDir(host), name), "left");
  writeFileSync(join(host.directory, "spool", `${vmId}.state`), "left");
  await run.operations.reconcile();
  assert.equal(await requireOneOfTwo(host, run, vmId), "suspended");
  assert.deepEqual(readdirSync(sealedDir(host)), [`${vmId}-1.sealed`]);
});

test("a policy that is changed while a tenant is suspended is in force when it is back", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  await suspend(run);
  const changed = await run.operations.updateEgress("demo", { mode: "none" });
  assert.equal(changed.replacedEgress, undefined);
  await resume(run);
  assert.deepEqual(run.tenants.find("demo")?.egress, { mode: "none" });
  assert.notEqual(host.networks.get(vmId)?.egress, undefined);
});

test("memory is suspended and resumed fifty times, each time under a generation of its own", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  const generations = new Set<number>();
  for (let cycle = 0; cycle < 50; cycle++) {
    await suspend(run);
    generations.add((await resume(run)).generation);
  }
  assert.equal(generations.size, 50);
  assert.equal(await requireOneOfTwo(host, run, vmId), "running");
});

const everyFailure: readonly Failure[] = ["renewGuestIdentity", "save", "load"];
test("what failed once fails no later cycle", async () => {
  const host = createFakeHost();
  const { run, vmId } = await running(host, memory());
  for (const failure of everyFailure) {
    host.failing.add(failure);
    await suspend(run).catch(() => undefined);
    await resume(run).catch(() => undefined);
    host.failing.clear();
    await run.operations.reconcile();
    const state = await requireOneOfTwo(host, run, vmId);
    if (state === "suspended") await resume(run);
  }
  assert.equal(await requireOneOfTwo(host, run, vmId), "running");
});
