import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openRequestLog } from "@lobsterd/chassis/idempotency.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { testHarness } from "@lobsterd/chassis/testing.ts";
import { EgressMode, EgressProtocol } from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { networkAccess } from "../access.ts";
import type { Drift } from "../firewall/drift.ts";
import type { Firewall } from "../firewall/firewall.ts";
import type { Flows } from "../host/flows.ts";
import { createKeyedSerial } from "../host/serial.ts";
import { conntrackNeed } from "../networks/admission.ts";
import { migrations, openNetworkStore } from "../networks/network-store.ts";
import { createNetworks } from "../networks/networks.ts";
import { networkRoutes } from "../routes.ts";
import type { Shaper } from "../slots/shaper.ts";
import type { SlotPool } from "../slots/slot-pool.ts";
import { usual } from "../testing/ground.ts";
import type { UsageReader } from "../usage/usage.ts";

const a = "a".repeat(32);
const b = "b".repeat(32);

function open() {
  const admitted = new Set<number>();
  const trail: string[] = [];
  let refuse = false;
  const firewall: Firewall = {
    async admit({ slot, egress }) {
      if (refuse) throw new Error("refused");
      trail.push(`admit ${slot} ${egress.mode}`);
      admitted.add(slot);
    },
    async cut(slot) {
      trail.push(`cut ${slot}`);
      admitted.delete(slot);
    },
    isAdmitted: (slot) => admitted.has(slot),
    wasChangedElsewhere: () => false,
    reconcile: async () => ({ drifts: [], foreign: [] }),
  };
  const pool: SlotPool = {
    ready: async (slot) => void trail.push(`ready ${slot}`),
    retire: (slot, done) => {
      trail.push(`retire ${slot}`);
      done();
    },
    adopt: () => undefined,
    invalidate: () => undefined,
    isWarm: () => false,
    warm: () => new Map(),
    fill: async () => undefined,
  };
  const flows: Flows = {
    endAll: async (address) => void trail.push(`end ${address}`),
    endForbidden: async (slot, egress) => void trail.push(`end what ${egress.mode} forbids on ${slot}`),
  };
  const shaper: Shaper = {
    shape: async (slot, { sentKbits }) => void trail.push(`shape ${slot} ${sentKbits}`),
    shapeLinks: async () => undefined,
    shapeUplink: async () => undefined,
    misshapenLinks: async () => [],
    isUplinkShaped: async () => true,
  };
  const usage: UsageReader = {
    read: async () => ({
      ...{ receivedBytes: 1n, sentBytes: 2n, receivedPackets: 3n, sentPackets: 4n },
      ...{ trackedConnections: 5, droppedPackets: new Map([["denied-range", 6n]]), resolverPackets: 7n },
      ...{ outboundConnections: 2, inboundConnections: 1, inboundSilenceSeconds: 4 },
    }),
  };
  const database = openDatabase(":memory:", migrations);
  const store = openNetworkStore(database);
  const settings = {
    ...{ slotCount: 8, connectionLimit: 1024, addressQuarantineMs: 60_000 },
    ...{ resolverAddresses: ["9.9.9.9"], defaultLimits: usual.limits },
  };
  const facts = { max: 262_144, count: 9, buckets: 65_536, establishedTimeoutSeconds: 3600 };
  const clock = { nowMs: 1000 };
  const shared = { store, pool, conntrack: () => facts, now: () => clock.nowMs };
  const networks = createNetworks({
    ...{ ...shared, firewall, shaper, flows, limits: settings, defaultLimits: usual.limits },
    operations: createKeyedSerial(),
    events: {
      networkAttached: () => undefined,
      egressUpdated: () => undefined,
      limitsUpdated: () => undefined,
      networkDetached: () => undefined,
      driftRepaired: () => undefined,
    },
  });
  const drifts: Drift[] = [];
  const reconcile = async (slot?: number): Promise<readonly Drift[]> => {
    trail.push(`reconcile ${slot}`);
    return drifts;
  };
  const requests = openRequestLog(database);
  const harness = testHarness({
    service: "net",
    routes: [networkRoutes({ ...shared, networks, usage, requests, settings, reconcile })],
    access: [networkAccess],
  });
  const refuseFirewall = (): void => {
    refuse = true;
  };
  return { harness, vm: harness.as("service:vm", NetworkService), store, trail, drifts, facts, clock, refuseFirewall };
}

const requestId = (): string => crypto.randomUUID();

async function failure(call: Promise<unknown>): Promise<[Code, string | undefined]> {
  try {
    await call;
  } catch (error) {
    return [ConnectError.from(error).code, reasonOf(error)];
  }
  throw new Error("the call succeeded");
}

describe("NetworkService", () => {
  test("attaches once for the same microVM and slot", async () => {
    const { vm, trail } = open();
    const first = await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    const again = await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    assert.deepEqual(again.network, first.network);
    assert.equal(first.network?.guestAddress, "10.201.0.7");
    assert.equal(first.network?.hostInterface, "lob-3");
    assert.deepEqual(trail, ["ready 3", "admit 3 internet"]);
  });

  test("refuses a taken slot, a second slot, and a slot that does not exist, and records nothing", async () => {
    const { vm, store } = open();
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    const attach = (vmId: string, slot: number) => failure(vm.attachNetwork({ requestId: requestId(), vmId, slot }));
    assert.deepEqual(await attach(b, 3), [Code.FailedPrecondition, "SLOT_TAKEN"]);
    assert.deepEqual(await attach(a, 4), [Code.AlreadyExists, "VM_ATTACHED_ELSEWHERE"]);
    assert.deepEqual(await attach(b, 8), [Code.ResourceExhausted, "SLOT_OUT_OF_RANGE"]);
    assert.deepEqual(await attach("no id", 1), [Code.InvalidArgument, "INVALID_FIELD"]);
    assert.equal(store.all().length, 1);
  });

  test("of two microVMs that want one slot at once, one gets it", async () => {
    const { vm } = open();
    const results = await Promise.allSettled(
      [a, b].map((vmId) => vm.attachNetwork({ requestId: requestId(), vmId, slot: 2 })),
    );
    assert.deepEqual(results.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);
  });

  test("a repair reads this slot back, and tells what differed there and on the whole host, and nothing of other slots", async () => {
    const { vm, trail, drifts } = open();
    assert.deepEqual(await failure(vm.repairNetwork({ vmId: a })), [Code.NotFound, "NETWORK_NOT_FOUND"]);
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    trail.length = 0;
    drifts.push({ kind: "missing-element", object: "guests lob-3 . 06:00:00:00:00:03" });
    drifts.push({ kind: "missing-element", object: "guests lob-33 . 06:00:00:00:00:33" });
    drifts.push({ kind: "changed-namespace", object: "slot-1" }, { kind: "changed-rules", object: "inet lobsterd x" });
    const answer = await vm.repairNetwork({ vmId: a });
    assert.deepEqual(trail, ["reconcile 3"]);
    assert.deepEqual(
      answer.drifts.map(({ kind, object }) => `${kind} ${object}`),
      ["missing-element guests lob-3 . 06:00:00:00:00:03", "changed-rules inet lobsterd x"],
    );
  });

  test("cuts before it cleans, and then makes the slot anew", async () => {
    const { vm, trail, store } = open();
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    trail.length = 0;
    await vm.detachNetwork({ requestId: requestId(), vmId: a });
    assert.deepEqual(trail, ["cut 3", "end 10.201.0.7", "retire 3"]);
    assert.deepEqual(store.all(), []);
    await vm.detachNetwork({ requestId: requestId(), vmId: a });
    assert.equal(trail.length, 3);
  });

  test("an attach that fails leaves no record and no elements", async () => {
    const { vm, trail, store, refuseFirewall } = open();
    refuseFirewall();
    const [code] = await failure(vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 }));
    assert.equal(code, Code.Internal);
    assert.deepEqual(store.all(), []);
    assert.ok(trail.includes("cut 3"));
  });

  test("a network is what was asked for, with defaults filled in", async () => {
    const { vm, trail } = open();
    const rules = [{ cidr: "93.184.216.0/24", port: 443, protocol: EgressProtocol.TCP }, { cidr: "45.5.0.0/16" }];
    const { network } = await vm.attachNetwork({
      ...{ requestId: requestId(), vmId: a, slot: 3 },
      egress: { mode: EgressMode.LIST, rules },
      limits: { sentKbits: 500 },
    });
    assert.deepEqual(
      network?.egress?.rules.map(({ cidr, port, protocol }) => ({ cidr, port, protocol })),
      [rules[0], { cidr: "45.5.0.0/16", port: 0, protocol: EgressProtocol.UNSPECIFIED }],
    );
    const { sentKbits, receivedKbits, sentPackets, receivedPackets } = network?.limits ?? {};
    assert.deepEqual([sentKbits, receivedKbits, sentPackets, receivedPackets], [500, 10_000, 1000, 1000]);
    assert.deepEqual(network?.resolverAddresses, ["9.9.9.9"]);
    assert.deepEqual(trail, ["ready 3", "shape 3 500", "admit 3 list"]);
  });

  test("a policy that changes ends what it forbids, and a late repetition brings nothing back", async () => {
    const { vm, trail, store } = open();
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    trail.length = 0;
    const first = { requestId: requestId(), vmId: a, egress: { mode: EgressMode.INTERNET } };
    await vm.updateNetworkEgress(first);
    const none = await vm.updateNetworkEgress({ requestId: requestId(), vmId: a, egress: { mode: EgressMode.NONE } });
    assert.equal(none.network?.egress?.mode, EgressMode.NONE);
    await vm.updateNetworkEgress(first);
    assert.deepEqual(store.find(a)?.egress, { mode: "none" });
    assert.deepEqual(trail.slice(-2), ["admit 3 none", "end what none forbids on 3"]);
    const absent = vm.updateNetworkEgress({ ...first, requestId: requestId(), vmId: b });
    assert.deepEqual(await failure(absent), [Code.NotFound, "NETWORK_NOT_FOUND"]);
  });

  test("a policy that could never match is refused by name, and nothing changes", async () => {
    const { vm, store, trail } = open();
    const egress = { mode: EgressMode.LIST, rules: [{ cidr: "8.8.8.0/24" }, { cidr: "10.1.0.0/16" }] };
    const attach = vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3, egress });
    await assert.rejects(attach, (error) => {
      assert.equal(reasonOf(error), "EGRESS_RANGE_DENIED");
      assert.match(JSON.stringify(ConnectError.from(error).details), /egress.rules\[1\].cidr/);
      return true;
    });
    for (const invalid of [
      { mode: EgressMode.LIST },
      { mode: EgressMode.NONE, rules: [{ cidr: "8.8.8.0/24" }] },
      { mode: EgressMode.LIST, rules: [{ cidr: "8.8.8.8/24" }] },
      { mode: EgressMode.LIST, rules: Array.from({ length: 33 }, () => ({ cidr: "8.8.8.0/24" })) },
      { mode: 9 as EgressMode },
    ]) {
      const [code] = await failure(vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3, egress: invalid }));
      assert.equal(code, Code.InvalidArgument, JSON.stringify(invalid));
    }
    assert.deepEqual([store.all(), trail], [[], []]);
  });

  test("limits that change are shaped and admitted anew, 0 is the default, and a late repetition brings nothing back", async () => {
    const { vm, trail } = open();
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    trail.length = 0;
    const first = { requestId: requestId(), vmId: a, limits: { sentKbits: 640, receivedPackets: 50 } };
    const { network } = await vm.updateNetworkLimits(first);
    const { sentKbits, receivedKbits, sentPackets, receivedPackets } = network?.limits ?? {};
    const { limits: usually } = usual;
    assert.deepEqual(
      { sentKbits, receivedKbits, sentPackets, receivedPackets },
      { ...usually, sentKbits: 640, receivedPackets: 50 },
    );
    assert.deepEqual(trail, ["shape 3 640", "admit 3 internet"]);
    await vm.updateNetworkLimits({ requestId: requestId(), vmId: a, limits: {} });
    await vm.updateNetworkLimits(first);
    assert.deepEqual((await vm.getNetwork({ vmId: a })).network?.limits?.sentKbits, usually.sentKbits);
    const unknown = vm.updateNetworkLimits({ requestId: requestId(), vmId: b, limits: {} });
    assert.deepEqual(await failure(unknown), [Code.NotFound, "NETWORK_NOT_FOUND"]);
  });

  test("an address stays in quarantine for others, to the millisecond", async () => {
    const { vm, store, clock } = open();
    const attach = (vmId: string) => vm.attachNetwork({ requestId: requestId(), vmId, slot: 3 });
    await attach(a);
    await vm.detachNetwork({ requestId: requestId(), vmId: a });
    clock.nowMs += 59_999;
    assert.deepEqual(await failure(attach(b)), [Code.ResourceExhausted, "SLOT_QUARANTINED"]);
    assert.deepEqual(store.all(), []);
    assert.equal((await vm.getNetworkCapacity({})).quarantinedCount, 1);
    clock.nowMs += 1;
    assert.equal((await attach(b)).network?.slot, 3);
    assert.equal((await vm.getNetworkCapacity({})).quarantinedCount, 0);
  });

  test("the microVM that had the address may have it back at once", async () => {
    const { vm } = open();
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    await vm.detachNetwork({ requestId: requestId(), vmId: a });
    assert.equal((await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 })).network?.slot, 3);
  });

  test("refuses one more than the connection table has room for, before anything happens", async () => {
    const { vm, store, facts, trail } = open();
    facts.max = conntrackNeed(1, 1024);
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    const seen = trail.length;
    const attach = vm.attachNetwork({ requestId: requestId(), vmId: b, slot: 4 });
    assert.deepEqual(await failure(attach), [Code.ResourceExhausted, "CONNTRACK_TOO_SMALL"]);
    assert.deepEqual([store.all().length, trail.length], [1, seen]);
    const { conntrackNetworkLimit, conntrackMax, conntrackMaxForAllSlots } = await vm.getNetworkCapacity({});
    assert.deepEqual(
      [conntrackNetworkLimit, conntrackMax, conntrackMaxForAllSlots],
      [1, facts.max, conntrackNeed(8, 1024)],
    );
  });

  test("says what a network has carried", async () => {
    const { vm } = open();
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    const { sentBytes, trackedConnections, droppedPackets } = await vm.getNetworkUsage({ vmId: a });
    assert.deepEqual([sentBytes, trackedConnections, droppedPackets], [2n, 5, { "denied-range": 6n }]);
  });

  test("gets and lists", async () => {
    const { vm } = open();
    await vm.attachNetwork({ requestId: requestId(), vmId: b, slot: 1 });
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 2 });
    assert.equal((await vm.getNetwork({ vmId: b })).network?.slot, 1);
    assert.deepEqual(await failure(vm.getNetwork({ vmId: "c".repeat(32) })), [Code.NotFound, "NETWORK_NOT_FOUND"]);
    const page = await vm.listNetworks({ page: { pageSize: 1 } });
    assert.deepEqual(
      page.networks.map(({ vmId }) => vmId),
      [a],
    );
    const rest = await vm.listNetworks({ page: { pageSize: 1, pageToken: page.page?.nextPageToken ?? "" } });
    assert.deepEqual([rest.networks.map(({ vmId }) => vmId), rest.page?.nextPageToken], [[b], ""]);
  });

  test("only vm changes networks; people look", async () => {
    const { harness } = open();
    for (const caller of ["role:operator", "role:viewer"] as const) {
      const client = harness.as(caller, NetworkService);
      await client.listNetworks({});
      const [code] = await failure(client.attachNetwork({ requestId: requestId(), vmId: a, slot: 1 }));
      assert.equal(code, Code.PermissionDenied, caller);
      assert.deepEqual(await failure(client.getNetworkUsage({ vmId: a })), [Code.NotFound, "NETWORK_NOT_FOUND"]);
      await client.getNetworkCapacity({});
    }
    for (const caller of ["service:proxy", "role:owner", "stranger", "nobody"] as const) {
      const [code] = await failure(harness.as(caller, NetworkService).listNetworks({}));
      assert.ok(code === Code.PermissionDenied || code === Code.Unauthenticated, caller);
    }
  });
});
