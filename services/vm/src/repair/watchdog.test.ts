import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { WorkloadState } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { createFakeHost, type FakeHostOptions } from "../lifecycle/fake-host.ts";
import { config, type RunOptions, startRun, wish } from "../lifecycle/fake-run.ts";
import { migrations } from "../store/schema.ts";
import { steadyMs } from "./pace.ts";
import { createWatchdog } from "./watchdog.ts";

const { repairBackoffMs, failedRetryMs, workloadLimitMs } = config;

async function watched(names: readonly string[] = ["demo"], options: RunOptions & FakeHostOptions = {}) {
  const host = createFakeHost(options);
  const run = startRun(host, openDatabase(":memory:", migrations), {
    config: { slotCount: 32 },
    ...options,
  });
  const vmIds: string[] = [];
  for (const name of names) vmIds.push((await run.operations.spawn(wish(name))).vmId);
  run.told.length = 0;
  const watchdog = createWatchdog(run.life, { repairBackoffMs, failedRetryMs, spreadMs: 0 });
  /** One look at everybody after so much time, and what came of it: the events of repairs. */
  const sweepAfter = async (ms: number): Promise<readonly string[]> => {
    run.clock.nowMs += ms;
    const before = run.told.length;
    await watchdog.sweep();
    await watchdog.settled();
    return run.told.slice(before).map((line) => line.replace("event ", ""));
  };
  const phase = () => run.tenants.find("demo")?.phase;
  return { host, run, watchdog, sweepAfter, phase, vmId: vmIds[0] ?? "", vmIds };
}

test("a tenant that is well is looked at and left alone", async () => {
  const { run, sweepAfter } = await watched(["demo", "other"]);
  for (let round = 0; round < 3; round++) assert.deepEqual(await sweepAfter(5_000), []);
  assert.deepEqual(
    run.tenants.all().map(({ generation }) => generation),
    [1, 1],
  );
});

for (const [what, harm, action] of [
  ["whose VMM ended", undefined, "boot-guest"],
  ["whose agent is silent", "silent", "boot-guest"],
  ["whose workload ended", WorkloadState.FAILED, "restart-workload"],
  ["whose workload hangs", WorkloadState.UNHEALTHY, "restart-workload"],
] as const) {
  test(`a tenant ${what} is repaired at the first look`, async () => {
    const { host, sweepAfter, phase, vmId } = await watched(["demo", "other"]);
    if (harm === undefined) host.vmm.exit(vmId);
    else host.workloads.set(vmId, harm === "silent" ? undefined : harm);
    const told = await sweepAfter(0);
    assert.deepEqual(told.at(-1), `repaired demo ${action}`);
    assert.equal(told.filter((line) => line.startsWith("repaired")).length, 1);
    assert.equal(phase(), "running");
    assert.deepEqual(await sweepAfter(5_000), []);
  });
}

test("a tenant whose VMM ended does not wait for its turn among the looks", async () => {
  const { host, run, vmId } = await watched(["demo", "other"]);
  host.vmm.exit(vmId);
  const watchdog = createWatchdog(run.life, { repairBackoffMs, failedRetryMs, spreadMs: 3_600_000 });
  void watchdog.sweep();
  const isRepaired = async () =>
    run.told.some((line) => line.includes("repaired demo boot-guest")) ? true : undefined;
  await waitFor("the repair", isRepaired, { timeoutMs: 10_000, intervalMs: 5 });
});

test("repairs that fail come ever later, the third makes the tenant FAILED, and it heals once the cause is gone", async () => {
  const { host, run, sweepAfter, phase, vmId } = await watched();
  host.vmm.exit(vmId);
  host.failing.add("awaitAgent");
  const failure = "repair-failed demo boot-guest BOOT_FAILED";
  assert.deepEqual(await sweepAfter(0), [failure]);
  assert.deepEqual(await sweepAfter(repairBackoffMs - 1), []);
  assert.deepEqual(await sweepAfter(1), [failure]);
  assert.deepEqual(await sweepAfter(2 * repairBackoffMs - 1), []);
  assert.equal(phase(), "running");
  assert.deepEqual(await sweepAfter(1), [failure, "failed demo VMM_EXITED"]);
  assert.deepEqual([phase(), run.tenants.find("demo")?.failureReason], ["failed", "VMM_EXITED"]);
  assert.deepEqual(await sweepAfter(failedRetryMs - 1), []);
  assert.deepEqual(await sweepAfter(1), [failure]);
  assert.deepEqual([phase(), run.tenants.find("demo")?.failureReason], ["failed", "VMM_EXITED"]);
  host.failing.clear();
  assert.deepEqual(await sweepAfter(failedRetryMs - 1), []);
  const healing = await sweepAfter(1);
  assert.deepEqual(healing, ["resumed demo fresh", "repaired demo boot-guest", "healed demo"]);
  assert.deepEqual([phase(), run.tenants.find("demo")?.failureReason], ["running", ""]);
});

test("a tenant that was FAILED and is well by itself is running", async () => {
  const { run, sweepAfter, phase, vmId } = await watched();
  run.tenants.markFailed(vmId, "WORKLOAD_UNHEALTHY");
  assert.deepEqual(await sweepAfter(0), ["healed demo"]);
  assert.equal(phase(), "running");
});

test("a guest that is booted again and again is given up too, and one that was steady in between is not", async () => {
  const { host, sweepAfter, phase, vmId } = await watched();
  const crash = async (afterMs: number) => {
    host.vmm.exit(vmId);
    return (await sweepAfter(afterMs)).at(-1);
  };
  assert.equal(await crash(0), "repaired demo boot-guest");
  assert.equal(await crash(repairBackoffMs), "repaired demo boot-guest");
  await sweepAfter(steadyMs);
  for (let wait = 0; wait <= 2 * repairBackoffMs; wait = wait * 2 || repairBackoffMs)
    assert.equal(await crash(wait), "repaired demo boot-guest");
  assert.equal(await crash(4 * repairBackoffMs), "failed demo VMM_EXITED");
  assert.equal(phase(), "failed");
  assert.equal((await sweepAfter(failedRetryMs)).at(-1), "healed demo");
  assert.equal(await crash(failedRetryMs - 1), undefined);
  assert.equal(await crash(1), "failed demo VMM_EXITED", "it has had its repairs");
});

test("a tenant whose microVM is gone, disk and all, is FAILED, and can be evicted", async () => {
  const { host, run, sweepAfter, phase, vmId } = await watched();
  await host.parts.vmm.remove(vmId);
  for (const ms of [0, repairBackoffMs, 2 * repairBackoffMs]) await sweepAfter(ms);
  assert.equal(phase(), "failed");
  await run.operations.evict(randomUUID(), "demo");
  assert.deepEqual(await host.inventory(), []);
  assert.deepEqual(await sweepAfter(failedRetryMs), []);
});

test("who is suspended, or under something else, is left alone", async () => {
  const held = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const { host, run, sweepAfter, vmId } = await watched(["demo"], {
    observe: async (moment, step) => {
      if (moment !== "done" || step !== "quiesce-guest") return;
      reached.resolve();
      await held.promise;
    },
  });
  const suspending = run.operations.suspend(randomUUID(), "demo");
  await reached.promise;
  host.workloads.set(vmId, undefined);
  assert.deepEqual(await sweepAfter(0), []);
  held.resolve();
  await suspending;
  run.told.length = 0;
  assert.deepEqual(await sweepAfter(5_000), []);
  assert.equal(run.tenants.find("demo")?.phase, "suspended");
});

test("a tenant that falls asleep while it is looked at sleeps on", async () => {
  const { host, run, sweepAfter } = await watched();
  let suspending: Promise<unknown> | undefined;
  Object.assign(host.parts.guests, {
    workloadState: async () => {
      suspending ??= run.operations.suspend(randomUUID(), "demo");
      return undefined;
    },
  });
  await sweepAfter(0);
  await suspending;
  assert.equal(run.tenants.find("demo")?.phase, "suspended");
});

test("while the launcher does not say what runs nobody is repaired", async () => {
  const { host, sweepAfter, vmId } = await watched();
  host.workloads.set(vmId, undefined);
  host.failing.add("listMicroVms");
  assert.deepEqual(await sweepAfter(0), []);
  host.failing.clear();
  assert.equal((await sweepAfter(0)).length > 0, true);
});

test("a look that was wrong ends no guest and counts for nothing", async () => {
  const { host, run, sweepAfter, vmId } = await watched();
  const { workloadState } = host.parts.guests;
  for (let round = 0; round < 5; round++) {
    let looks = 0;
    Object.assign(host.parts.guests, {
      workloadState: async (...given: Parameters<typeof workloadState>) =>
        looks++ === 0 ? undefined : await workloadState(...given),
    });
    assert.deepEqual(await sweepAfter(5_000), []);
    assert.ok(looks > 1, "it was looked at again");
  }
  assert.deepEqual([run.tenants.findByVm(vmId)?.phase, run.tenants.findByVm(vmId)?.generation], ["running", 1]);
});

test("a workload that starts has its time, and no more", async () => {
  const { host, sweepAfter, vmId } = await watched();
  host.workloads.set(vmId, WorkloadState.STARTING);
  for (const ms of [0, workloadLimitMs]) assert.deepEqual(await sweepAfter(ms), []);
  host.workloads.set(vmId, WorkloadState.HEALTHY);
  await sweepAfter(1);
  host.workloads.set(vmId, WorkloadState.STARTING);
  await sweepAfter(1);
  Object.assign(host.parts.guests, { awaitWorkload: async () => Promise.reject(new Error("never healthy")) });
  assert.match((await sweepAfter(workloadLimitMs + 1)).join(), /repair-failed demo restart-workload/);
});

const many = Array.from({ length: 20 }, (_, index) => `tenant-${index}`);

test("at most eight are asked at once, and one that does not answer holds up nobody", async () => {
  const { host, run, watchdog } = await watched(many);
  const { workloadState } = host.parts.guests;
  const answer = Promise.withResolvers<void>();
  let [running, most, asked] = [0, 0, 0];
  Object.assign(host.parts.guests, {
    workloadState: async (...given: Parameters<typeof workloadState>) => {
      most = Math.max(most, ++running);
      if (asked++ === 0) await answer.promise;
      else await new Promise(setImmediate);
      running--;
      return await workloadState(...given);
    },
  });
  const sweep = watchdog.sweep();
  for (let turn = 0; turn < 200 && asked < many.length; turn++) await new Promise(setImmediate);
  assert.equal(asked, many.length);
  answer.resolve();
  await sweep;
  assert.equal(most, 8);
  assert.deepEqual(run.told, []);
});

test("at most eight are repaired at once, the rest with the next looks, and nobody twice at a time", async () => {
  const go = Promise.withResolvers<void>();
  let isHolding = false;
  const { host, run, watchdog, vmIds } = await watched(many, {
    observe: async (moment, step) => {
      if (isHolding && moment === "started" && step === "join-network") await go.promise;
    },
  });
  isHolding = true;
  for (const vmId of vmIds) host.vmm.exit(vmId);
  for (let sweep = 0; sweep < 3; sweep++) {
    await watchdog.sweep();
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
    assert.ok(run.journal.open().length <= 8);
  }
  go.resolve();
  await watchdog.settled();
  assert.equal(run.told.filter((line) => line.startsWith("event repaired")).length, 8);
  for (let sweep = 0; sweep < 3; sweep++) {
    await watchdog.sweep();
    await watchdog.settled();
  }
  assert.equal(run.told.filter((line) => line.startsWith("event repaired")).length, many.length);
});
