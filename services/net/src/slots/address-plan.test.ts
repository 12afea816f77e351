import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { maxSlotCount, planSlot, slotOfName } from "./address-plan.ts";

describe("planSlot", () => {
  test("derives everything from the slot", () => {
    assert.deepEqual(planSlot(5), {
      slot: 5,
      hostInterface: "lob-5",
      hostAddress: "10.201.0.10",
      hostMac: "06:00:0a:c9:00:0a",
      guestAddress: "10.201.0.11",
      slotMac: "06:00:0a:c9:00:0b",
    });
  });
  test("carries into the third octet", () => {
    assert.equal(planSlot(128).hostAddress, "10.201.1.0");
    assert.equal(planSlot(maxSlotCount - 1).guestAddress, "10.201.255.255");
  });
  test("gives no address and no name twice", () => {
    const seen = new Set<string>();
    for (let slot = 0; slot < maxSlotCount; slot += 1) {
      const { hostAddress, guestAddress, hostMac, slotMac, hostInterface } = planSlot(slot);
      for (const value of [hostAddress, guestAddress, hostMac, slotMac, hostInterface]) seen.add(value);
      assert.ok(hostInterface.length <= 15, "IFNAMSIZ");
    }
    assert.equal(seen.size, 5 * maxSlotCount);
  });
  test("refuses what is no slot", () => {
    for (const slot of [-1, 1.5, maxSlotCount, Number.NaN]) assert.throws(() => planSlot(slot), RangeError);
  });
});

describe("slotOfName", () => {
  test("knows our names", () =>
    assert.deepEqual([slotOfName("lob-", "lob-0"), slotOfName("slot-", "slot-41")], [0, 41]));
  test("leaves others alone", () => {
    for (const name of ["lob-", "lob-01", "lob-1a", "lob-x", "xlob-1", "eth0", "lob--1", "lob-1.5"])
      assert.equal(slotOfName("lob-", name), undefined, name);
  });
});
