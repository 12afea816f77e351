import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { defineErrors, reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import type { Egress, NetworkLimits } from "../network-policy.ts";
import { migrations } from "../store/schema.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { VmStart } from "../vmm/port.ts";
import { createFakeHost } from "./fake-host.ts";
import { type RunOptions, startRun, wish } from "./fake-run.ts";
import type { TenantUpdate } from "./update.ts";

const withReason = (reason: string) => (error: unknown) => reasonOf(error) === reason;
const netFail = defineErrors("net.lobsterd", { EGRESS_RANGE_DENIED: Code.InvalidArgument });
const denied = netFail("EGRESS_RANGE_DENIED", "refused", { metadata: { field: "egress.rules[0].cidr" } });
const none: Egress = { mode: "none" };
const slow: NetworkLimits = { sentKbits: 640, receivedKbits: 0, sentPackets: 50, receivedPackets: 0 };
const labels = { plan: "large" };

async function running(options: RunOptions = {}, host = createFakeHost()) {
  const run = startRun(host, openDatabase(":memory:", migrations), options);
  const started: Pick<VmStart, "vcpuCount" | "memoryMib">[] = [];
  const { start, load } = host.parts.vmm;
  const note = ({ vcpuCount, memoryMib }: VmStart) => void started.push({ vcpuCount, memoryMib });
  Object.assign(host.parts.vmm, {
    start: async (order: VmStart) => {
      note(order);
      return await start(order);
    },
    load: async (order: VmStart, state: Parameters<typeof load>[1]) => {
      note(order);
      return await load(order, state);
    },
  });
  const spawned = await run.operations.spawn(wish("demo"));
  run.told.length = 0;
  started.length = 0;
  const update = (change: TenantUpdate) => run.operations.update("demo", change);
  const limits = () => {
    const { sentKbits, sentPackets } = host.networks.get(spawned.vmId)?.limits ?? {};
    return { sentKbits, sentPackets };
  };
  return { host, run, update, limits, started, spawned, vmId: spawned.vmId };
}

/** What an update may change. */
const changeable = ({ egress, networkLimits, labels: given, resources, nextResources }: TenantRecord) => ({
  ...{ egress, networkLimits, labels: given, resources, nextResources },
});

test("egress, limits and labels change in one call, at once, and what is not named stays", async () => {
  const { host, run, update, limits, spawned, vmId } = await running();
  const all = await update({ egress: none, networkLimits: slow, labels });
  const expected = { ...changeable(spawned), egress: none, networkLimits: slow, labels };
  assert.deepEqual(changeable(all), expected);
  assert.deepEqual(limits(), { sentKbits: 640, sentPackets: 50 });
  assert.deepEqual([all.areLimitsPending, all.replacedEgress], [false, undefined]);
  assert.deepEqual(run.told, ["event egress-updated demo", "event updated demo egress,networkLimits,labels"]);
  assert.deepEqual(changeable(await update({ labels: {} })), { ...expected, labels: {} });
  assert.equal(host.networks.get(vmId)?.limits?.sentKbits, 640);
});

test("vCPUs and memory wait for the next boot: a resume brings back the machine that was saved", async () => {
  const { host, run, update, started, spawned, vmId } = await running();
  const { vcpuCount, memoryMib } = spawned.resources;
  const updated = await update({ resources: { memoryMib: 512 } });
  assert.deepEqual(changeable(updated), { ...changeable(spawned), nextResources: { vcpuCount, memoryMib: 512 } });
  assert.deepEqual((await update({ resources: { vcpuCount: 2 } })).nextResources, { vcpuCount: 2, memoryMib: 512 });
  await run.operations.suspend(randomUUID(), "demo");
  await run.operations.resume(randomUUID(), "demo");
  assert.deepEqual(started, [{ vcpuCount, memoryMib }]);
  host.vmm.exit(vmId);
  const { tenant } = await run.operations.repair("demo");
  assert.deepEqual(started.slice(1), [{ vcpuCount: 2, memoryMib: 512 }]);
  assert.deepEqual([tenant.resources.memoryMib, tenant.nextResources], [512, undefined]);
  assert.equal((await update({ resources: { memoryMib: 256 } })).nextResources?.memoryMib, 256);
  assert.equal((await update({ resources: { memoryMib: 512 } })).nextResources, undefined, "what it has already");
});

test("a suspended tenant is changed too, and has it with its next network", async () => {
  const { run, update, limits } = await running();
  await run.operations.suspend(randomUUID(), "demo");
  const updated = await update({ egress: none, networkLimits: slow, labels });
  assert.deepEqual([updated.phase, updated.areLimitsPending], ["suspended", false]);
  await run.operations.resume(randomUUID(), "demo");
  assert.deepEqual(limits(), { sentKbits: 640, sentPackets: 50 });
});

test("what cannot be is refused before anything is changed", async () => {
  const { run, update, limits, spawned } = await running();
  const refused: readonly (readonly [TenantUpdate, string])[] = [
    [{ labels, resources: { memoryMib: 1 } }, "RESOURCES_OUT_OF_RANGE"],
    [{ labels, resources: { vcpuCount: 3 } }, "RESOURCES_OUT_OF_RANGE"],
    [{ labels, networkLimits: slow, resources: { memoryMib: 1_000_000 } }, "RESOURCES_OUT_OF_RANGE"],
  ];
  for (const [change, reason] of refused) await assert.rejects(update(change), withReason(reason));
  await assert.rejects(run.operations.update("other", { labels }), withReason("TENANT_NOT_FOUND"));
  assert.deepEqual(changeable(run.tenants.find("demo") ?? spawned), changeable(spawned));
  assert.equal(limits().sentKbits, 0);
  assert.deepEqual(run.told, []);
});

test("a policy that net refuses takes all else back", async () => {
  const { host, run, update, limits, spawned } = await running();
  host.refusing.set("updateNetworkEgress", denied);
  const change = { egress: none, networkLimits: slow, labels, resources: { memoryMib: 512 } };
  await assert.rejects(update(change), withReason("EGRESS_RANGE_DENIED"));
  const after = run.tenants.find("demo") ?? spawned;
  assert.deepEqual([changeable(after), after.areLimitsPending], [changeable(spawned), false]);
  host.refusing.clear();
  await run.operations.reconcile();
  assert.equal(limits().sentKbits, 0);
});

test("a guest that is to grow has its room promised at once, and is refused what the host has not", async () => {
  const room = createFakeHost({ description: { memoryMib: 1024 + 2 * 640 } });
  const { run, update } = await running({}, room);
  await assert.rejects(update({ labels, resources: { memoryMib: 1024 } }), withReason("HOST_FULL"));
  assert.deepEqual(run.tenants.find("demo")?.labels, {});
  await update({ resources: { memoryMib: 512 } });
  await assert.rejects(run.operations.spawn(wish("other")), withReason("HOST_FULL"));
  await update({ resources: { memoryMib: 256 } });
  await run.operations.spawn(wish("other"));
});

test("limits that net did not confirm are told it again, once", async () => {
  const { host, run, update, limits } = await running();
  host.failing.add("updateNetworkLimits");
  host.networks.set(run.tenants.find("demo")?.vmId ?? "", { slot: 0 });
  await assert.rejects(update({ networkLimits: slow, labels }), withReason("LIMITS_UPDATE_INCOMPLETE"));
  assert.partialDeepStrictEqual(run.tenants.find("demo"), { networkLimits: slow, areLimitsPending: true, labels });
  await run.operations.reconcile();
  assert.equal(run.tenants.find("demo")?.areLimitsPending, true);
  host.failing.clear();
  host.networks.set(run.tenants.find("demo")?.vmId ?? "", { slot: 0 });
  await run.operations.reconcile();
  assert.deepEqual([limits().sentKbits, run.tenants.find("demo")?.areLimitsPending], [640, false]);
  let calls = 0;
  const { updateNetworkLimits } = host.parts.net;
  Object.assign(host.parts.net, {
    updateNetworkLimits: (...given: Parameters<typeof updateNetworkLimits>) => {
      calls++;
      return updateNetworkLimits(...given);
    },
  });
  await run.operations.reconcile();
  assert.equal(calls, 0);
});
