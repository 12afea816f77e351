import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { defineErrors, reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { type Egress, toEgress } from "../network-policy.ts";
import { migrations } from "../store/schema.ts";
import { createFakeHost, type FakeHost } from "./fake-host.ts";
import { startRun, wish } from "./fake-run.ts";

const netFail = defineErrors("net.lobsterd", {
  EGRESS_RANGE_DENIED: Code.InvalidArgument,
  SLOT_QUARANTINED: Code.ResourceExhausted,
});
const denied = netFail("EGRESS_RANGE_DENIED", "refused", { metadata: { field: "egress.rules[0].cidr" } });

const internet: Egress = { mode: "internet" };
const none: Egress = { mode: "none" };
const one: Egress = { mode: "list", rules: [{ cidr: "93.184.216.0/24", port: 443, protocol: "tcp" }] };
const memory = () => openDatabase(":memory:", migrations);
const withReason = (reason: string) => (error: unknown) => reasonOf(error) === reason;

/** What net enforces for a tenant. */
const enforced = (host: FakeHost, vmId: string) => toEgress(host.networks.get(vmId)?.egress);

test("a new policy is recorded, in force and told of, and the tenant keeps it", async () => {
  const host = createFakeHost();
  const { operations, tenants, told } = startRun(host, memory());
  const { vmId } = await operations.spawn(wish("demo"));
  assert.deepEqual((await operations.updateEgress("demo", one)).egress, one);
  assert.deepEqual(enforced(host, vmId), one);
  assert.partialDeepStrictEqual(tenants.find("demo"), { egress: one, replacedEgress: undefined });
  assert.deepEqual(told, ["event spawned demo", "event egress-updated demo"]);
});

test("the new policy is durable before net hears of it", async () => {
  const host = createFakeHost();
  const { operations, tenants } = startRun(host, memory());
  await operations.spawn(wish("demo"));
  const go = Promise.withResolvers<void>();
  host.holding.set("updateNetworkEgress", go.promise);
  const updating = operations.updateEgress("demo", none);
  await new Promise(setImmediate);
  assert.partialDeepStrictEqual(tenants.find("demo"), { egress: none, replacedEgress: internet });
  go.resolve();
  await updating;
});

test("a policy that net refuses is put back, and the reconciler never asks for it again", async () => {
  const host = createFakeHost();
  const { operations, tenants, told } = startRun(host, memory());
  const { vmId } = await operations.spawn(wish("demo"));
  await operations.updateEgress("demo", one);
  host.refusing.set("updateNetworkEgress", denied);
  await assert.rejects(operations.updateEgress("demo", none), withReason("EGRESS_RANGE_DENIED"));
  assert.partialDeepStrictEqual(tenants.find("demo"), { egress: one, replacedEgress: undefined });
  host.refusing.clear();
  await operations.reconcile();
  assert.deepEqual(enforced(host, vmId), one);
  assert.deepEqual(told, ["event spawned demo", "event egress-updated demo"]);
});

test("after a call whose end is not known, the reconciler brings net to the record, once", async () => {
  const host = createFakeHost();
  const { operations, tenants, told } = startRun(host, memory());
  const { vmId } = await operations.spawn(wish("demo"));
  host.failing.add("updateNetworkEgress");
  await assert.rejects(operations.updateEgress("demo", none), withReason("EGRESS_UPDATE_INCOMPLETE"));
  assert.partialDeepStrictEqual(tenants.find("demo"), { egress: none, replacedEgress: internet });
  assert.deepEqual(told, ["event spawned demo"]);
  host.failing.clear();
  await operations.reconcile();
  assert.deepEqual(enforced(host, vmId), none);
  assert.equal(tenants.find("demo")?.replacedEgress, undefined);
  await operations.reconcile();
  assert.deepEqual(told, ["event spawned demo", "event egress-updated demo"]);
});

test("a change that vm did not live to end is ended by its next run, or put back if net refuses it", async () => {
  for (const refused of [false, true]) {
    const host = createFakeHost();
    const database = memory();
    const first = startRun(host, database);
    const { vmId } = await first.operations.spawn(wish("demo"));
    first.tenants.beginEgressChange(vmId, none);
    if (refused) host.refusing.set("updateNetworkEgress", denied);
    const second = startRun(host, database);
    await second.operations.reconcile();
    const expected: Egress = refused ? internet : none;
    assert.partialDeepStrictEqual(second.tenants.find("demo"), { egress: expected, replacedEgress: undefined });
    assert.deepEqual(enforced(host, vmId), expected);
  }
});

test("a change that meets a network that is gone comes with the next attach, and one that is refused then does not", async () => {
  for (const [refusal, before, after] of [
    [undefined, none, none],
    [denied, internet, internet],
    [netFail("SLOT_QUARANTINED", "later"), none, none],
  ] as const) {
    const host = createFakeHost();
    const { operations, tenants } = startRun(host, memory());
    const { vmId } = await operations.spawn(wish("demo"));
    tenants.beginEgressChange(vmId, none);
    host.networks.delete(vmId);
    if (refusal !== undefined) host.refusing.set("attachNetwork", refusal);
    await operations.reconcile();
    assert.deepEqual(tenants.find("demo")?.egress, before);
    host.refusing.clear();
    await operations.reconcile();
    assert.deepEqual(enforced(host, vmId), after);
    assert.equal(tenants.find("demo")?.replacedEgress, undefined);
  }
});

test("a network under another policy than its tenant's is brought back; one tenant's failure keeps no other from it", async () => {
  const host = createFakeHost();
  const { operations } = startRun(host, memory());
  const a = await operations.spawn({ ...wish("a"), egress: one });
  const b = await operations.spawn({ ...wish("b"), egress: none });
  const c = await operations.spawn({ ...wish("c"), egress: none });
  for (const { vmId, slot } of [a, b]) host.networks.set(vmId, { slot });
  host.networks.delete(c.vmId);
  host.refusing.set("attachNetwork", netFail("SLOT_QUARANTINED", "later"));
  await operations.reconcile();
  assert.deepEqual(
    [a, b].map(({ vmId }) => enforced(host, vmId)),
    [one, none],
  );
  assert.equal(host.networks.has(c.vmId), false);
});

test("the order of rules is no difference", async () => {
  const host = createFakeHost();
  const { operations, told } = startRun(host, memory());
  const rules = [
    { cidr: "93.184.216.0/24", port: 443, protocol: "tcp" },
    { cidr: "1.1.1.1/32", port: 0, protocol: "any" },
  ] as const;
  const { vmId, slot } = await operations.spawn({ ...wish("demo"), egress: { mode: "list", rules: [...rules] } });
  const asked = host.networks.get(vmId);
  assert.ok(asked?.egress);
  host.networks.set(vmId, { slot, egress: { ...asked.egress, rules: asked.egress.rules.toReversed() } });
  host.failing.add("updateNetworkEgress");
  const before = host.networks.get(vmId);
  await operations.reconcile();
  assert.equal(host.networks.get(vmId), before, "net was not called");
  assert.deepEqual(told, ["event spawned demo"]);
});

test("of two updates the later one stays, whatever the first one takes", async () => {
  const host = createFakeHost();
  const { operations, tenants } = startRun(host, memory());
  const { vmId } = await operations.spawn(wish("demo"));
  const go = Promise.withResolvers<void>();
  host.holding.set("updateNetworkEgress", go.promise);
  const first = operations.updateEgress("demo", one);
  await new Promise(setImmediate);
  host.holding.clear();
  const second = operations.updateEgress("demo", none);
  const reconciled = operations.reconcile();
  await new Promise(setImmediate);
  go.resolve();
  await Promise.all([first, second, reconciled]);
  assert.deepEqual(tenants.find("demo")?.egress, none);
  assert.deepEqual(enforced(host, vmId), none);
});

test("an eviction ends an update that hangs, and the one that waits behind it", { timeout: 10_000 }, async () => {
  const host = createFakeHost();
  const { operations, tenants } = startRun(host, memory());
  await operations.spawn(wish("demo"));
  host.holding.set("updateNetworkEgress", new Promise(() => undefined));
  const updates = [one, none].map((egress) =>
    assert.rejects(operations.updateEgress("demo", egress), withReason("TENANT_BUSY")),
  );
  await new Promise(setImmediate);
  await operations.evict(randomUUID(), "demo");
  await Promise.all(updates);
  assert.deepEqual(await host.inventory(), []);
  assert.equal(tenants.find("demo"), undefined);
});

test("a tenant that is not there, is being spawned or is being evicted is refused; one that failed is not", async () => {
  const host = createFakeHost();
  const go = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const { operations } = startRun(host, memory(), {
    observe: async (at, step) => {
      if (at !== "done" || step !== "attach-network") return;
      reached.resolve();
      await go.promise;
    },
  });
  await assert.rejects(operations.updateEgress("demo", none), withReason("TENANT_NOT_FOUND"));
  const spawning = operations.spawn(wish("demo"));
  await reached.promise;
  await assert.rejects(operations.updateEgress("demo", none), withReason("TENANT_BUSY"));
  go.resolve();
  const { vmId } = await spawning;
  await host.parts.vmm.remove(vmId);
  await operations.reconcile();
  await operations.updateEgress("demo", none);
  assert.deepEqual(enforced(host, vmId), none);
  host.failing.add("detachNetwork");
  await assert.rejects(operations.evict(randomUUID(), "demo"), withReason("EVICTION_INCOMPLETE"));
  await assert.rejects(operations.updateEgress("demo", none), withReason("TENANT_BUSY"));
});
