import assert from "node:assert/strict";
import { test } from "node:test";
import type { NetworkRecord } from "../networks/network-store.ts";
import { createDropTotals } from "./drop-totals.ts";

function ground() {
  const networks: Pick<NetworkRecord, "vmId" | "slot">[] = [];
  const drops = new Map<number, Record<string, number>>();
  let reads = 0;
  const totals = createDropTotals({
    reasons: ["spoofed"],
    store: { all: () => networks as NetworkRecord[] },
    usage: {
      read: async (slot) => {
        reads += 1;
        const counts = drops.get(slot);
        if (counts === undefined) throw new Error("the slot is being made");
        const droppedPackets = new Map(Object.entries(counts).map(([reason, count]) => [reason, BigInt(count)]));
        return { droppedPackets };
      },
    },
  });
  return { networks, drops, totals, reads: () => reads };
}

test("drops of all tenants add up, and nothing is counted twice", async () => {
  const { networks, drops, totals } = ground();
  assert.deepEqual(Object.fromEntries(await totals()), { spoofed: 0n });
  networks.push({ vmId: "a", slot: 0 }, { vmId: "b", slot: 1 });
  drops.set(0, { spoofed: 3 }).set(1, { spoofed: 4, invalid: 1 });
  assert.deepEqual(Object.fromEntries(await totals()), { spoofed: 7n, invalid: 1n });
  assert.deepEqual(Object.fromEntries(await totals()), { spoofed: 7n, invalid: 1n });
  drops.set(0, { spoofed: 5 });
  assert.deepEqual(Object.fromEntries(await totals()), { spoofed: 9n, invalid: 1n });
});

test("totals never fall: not when a tenant goes, not when its slot is made anew, not for the next tenant in it", async () => {
  const { networks, drops, totals } = ground();
  networks.push({ vmId: "a", slot: 0 });
  drops.set(0, { spoofed: 10 });
  assert.equal((await totals()).get("spoofed"), 10n);
  drops.set(0, { spoofed: 2 });
  assert.equal((await totals()).get("spoofed"), 12n);
  networks.pop();
  assert.equal((await totals()).get("spoofed"), 12n);
  networks.push({ vmId: "b", slot: 0 });
  assert.equal((await totals()).get("spoofed"), 14n);
});

test("one slot that cannot be read holds up no other, and a read of many slots is bounded", async () => {
  const { networks, drops, totals, reads } = ground();
  for (let slot = 0; slot < 100; slot += 1) {
    networks.push({ vmId: `vm-${slot}`, slot });
    if (slot !== 7) drops.set(slot, { spoofed: 1 });
  }
  assert.equal((await totals()).get("spoofed"), 31n);
  assert.equal(reads(), 32);
  for (let read = 0; read < 4; read += 1) await totals();
  assert.equal((await totals()).get("spoofed"), 99n);
});
