import assert from "node:assert/strict";
import { test } from "node:test";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { migrations, openNetworkStore } from "./network-store.ts";

const a = { vmId: "a".repeat(32), slot: 1, attachTimeMs: 5 };
const b = { vmId: "b".repeat(32), slot: 2, attachTimeMs: 6 };

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
  store.retire(a.vmId);
  assert.deepEqual([store.all(), store.retired()], [[], [{ vmId: a.vmId, slot: 1 }]]);
  store.retire(a.vmId);
  store.record({ ...b, slot: 1 });
  store.clearRetired(1);
  assert.deepEqual([store.all(), store.retired()], [[{ ...b, slot: 1 }], []]);
});

test("lists in pages by microVM id", () => {
  const store = open();
  store.record(b);
  store.record(a);
  assert.deepEqual(store.list("", 1), [a]);
  assert.deepEqual(store.list(a.vmId, 5), [b]);
});
