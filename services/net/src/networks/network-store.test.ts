import assert from "node:assert/strict";
import { test } from "node:test";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { usual } from "../testing/ground.ts";
import { migrations, type NetworkRecord, openNetworkStore } from "./network-store.ts";

const a = { vmId: "a".repeat(32), slot: 1, attachTimeMs: 5, ...usual };
const b = {
  ...{ vmId: "b".repeat(32), slot: 2, attachTimeMs: 6 },
  limits: { sentKbits: 64, receivedKbits: 128, sentPackets: 10, receivedPackets: 20 },
  egress: {
    mode: "list",
    rules: [
      { cidr: "1.2.3.0/24", port: 443, protocol: "tcp" },
      { cidr: "4.0.0.0/8", port: undefined, protocol: undefined },
    ],
  },
} as const satisfies NetworkRecord;

function open() {
  return openNetworkStore(openDatabase(":memory:", migrations));
}

test("keeps one slot per microVM and one microVM per slot", () => {
  const store = open();
  store.record(a);
  assert.throws(() => store.record({ ...b, slot: a.slot }));
  assert.throws(() => store.record({ ...b, vmId: a.vmId }));
  assert.deepEqual(store.find(a.vmId), a);
  assert.deepEqual(store.holderOf(a.slot), a);
  assert.equal(store.find(b.vmId), undefined);
});

test("a retired network frees its slot and remembers that it was used", () => {
  const store = open();
  store.record(a);
  store.retire(a.vmId, 1000);
  assert.deepEqual([store.all(), store.retired()], [[], [{ vmId: a.vmId, slot: 1 }]]);
  store.retire(a.vmId, 1000);
  store.record({ ...b, slot: 1 });
  store.clearRetired(1);
  assert.deepEqual([store.all(), store.retired()], [[{ ...b, slot: 1 }], []]);
});

test("a policy is kept as it was given, and can be changed", () => {
  const store = open();
  store.record(b);
  assert.deepEqual(store.find(b.vmId), b);
  store.setEgress(b.vmId, { mode: "none" });
  assert.deepEqual(store.find(b.vmId)?.egress, { mode: "none" });
});

test("remembers when a slot was freed, and counts those that are still free", () => {
  const store = open();
  store.record(a);
  store.retire(a.vmId, 1000);
  assert.deepEqual(store.freed(1), { vmId: a.vmId, slot: 1, freeTimeMs: 1000 });
  assert.deepEqual([store.countFreedSince(999), store.countFreedSince(1000)], [1, 0]);
  store.record({ ...b, slot: 1 });
  assert.equal(store.countFreedSince(999), 0);
});

test("lists in pages by microVM id", () => {
  const store = open();
  store.record(b);
  store.record(a);
  assert.deepEqual(store.list("", 1), [a]);
  assert.deepEqual(store.list(a.vmId, 5), [b]);
});
