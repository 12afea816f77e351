import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openRequestLog } from "@lobsterd/chassis/idempotency.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { testHarness } from "@lobsterd/chassis/testing.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { networkAccess } from "../access.ts";
import type { Firewall } from "../firewall/firewall.ts";
import type { ProcessRunner } from "../host/process.ts";
import { createKeyedSerial } from "../host/serial.ts";
import { migrations, openNetworkStore } from "../networks/network-store.ts";
import { createNetworks } from "../networks/networks.ts";
import { networkRoutes } from "../routes.ts";
import type { SlotPool } from "../slots/slot-pool.ts";

const a = "a".repeat(32);
const b = "b".repeat(32);

function open() {
  const admitted = new Set<number>();
  const trail: string[] = [];
  let refuse = false;
  const firewall: Firewall = {
    async admit(slot) {
      if (refuse) throw new Error("refused");
      trail.push(`admit ${slot}`);
      admitted.add(slot);
    },
    async cut(slot) {
      trail.push(`cut ${slot}`);
      admitted.delete(slot);
    },
    isAdmitted: (slot) => admitted.has(slot),
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
    warm: () => new Map(),
    fill: async () => undefined,
  };
  const runner: ProcessRunner = {
    async run([program]) {
      trail.push(program);
      return "";
    },
    within: () => runner,
  };
  const database = openDatabase(":memory:", migrations);
  const store = openNetworkStore(database);
  const networks = createNetworks({
    runner,
    store,
    firewall,
    pool,
    operations: createKeyedSerial(),
    events: { networkAttached: () => undefined, networkDetached: () => undefined, driftRepaired: () => undefined },
    slotCount: 8,
    now: () => 1000,
  });
  const requests = openRequestLog(database);
  const harness = testHarness({
    service: "net",
    routes: [networkRoutes({ networks, store, requests })],
    access: [networkAccess],
  });
  const refuseFirewall = (): void => {
    refuse = true;
  };
  return { harness, vm: harness.as("service:vm", NetworkService), store, trail, refuseFirewall };
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
    assert.deepEqual(trail, ["ready 3", "admit 3"]);
  });

  test("refuses a taken slot, a second slot, and a slot that does not exist, and records nothing", async () => {
    const { vm, store } = open();
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    const attach = (vmId: string, slot: number) => failure(vm.attachNetwork({ requestId: requestId(), vmId, slot }));
    assert.deepEqual(await attach(b, 3), [Code.FailedPrecondition, "SLOT_TAKEN"]);
    assert.deepEqual(await attach(a, 4), [Code.AlreadyExists, "VM_ATTACHED_ELSEWHERE"]);
    assert.deepEqual(await attach(b, 8), [Code.InvalidArgument, "SLOT_OUT_OF_RANGE"]);
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

  test("cuts before it cleans, and then makes the slot anew", async () => {
    const { vm, trail, store } = open();
    await vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 });
    trail.length = 0;
    await vm.detachNetwork({ requestId: requestId(), vmId: a });
    assert.deepEqual(trail, ["cut 3", "ss", "conntrack", "conntrack", "retire 3"]);
    assert.deepEqual(store.all(), []);
    await vm.detachNetwork({ requestId: requestId(), vmId: a });
    assert.equal(trail.length, 5);
  });

  test("an attach that fails leaves no record and no elements", async () => {
    const { vm, trail, store, refuseFirewall } = open();
    refuseFirewall();
    const [code] = await failure(vm.attachNetwork({ requestId: requestId(), vmId: a, slot: 3 }));
    assert.equal(code, Code.Internal);
    assert.deepEqual(store.all(), []);
    assert.ok(trail.includes("cut 3"));
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
      assert.deepEqual(await failure(client.getNetworkUsage({ vmId: a })), [Code.Unimplemented, "NOT_IMPLEMENTED"]);
    }
    for (const caller of ["service:proxy", "role:owner", "stranger", "nobody"] as const) {
      const [code] = await failure(harness.as(caller, NetworkService).listNetworks({}));
      assert.ok(code === Code.PermissionDenied || code === Code.Unauthenticated, caller);
    }
  });
});
