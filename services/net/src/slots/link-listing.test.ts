import assert from "node:assert/strict";
import { test } from "node:test";
import { planSlot } from "./address-plan.ts";
import { readLinkedSlots, readSlotLinks } from "./link-listing.ts";

const { hostMac, hostAddress, guestAddress, slotMac } = planSlot(1);
const whole = {
  ifname: "lob-1",
  flags: ["BROADCAST", "UP"],
  address: hostMac,
  addr_info: [{ family: "inet", local: hostAddress, prefixlen: 31 }],
};
const neighbour = { dev: "lob-1", dst: guestAddress, lladdr: slotMac, state: ["PERMANENT"] };

function stateOf(link: object, neighbours: object[] = [neighbour]): string | undefined {
  return readSlotLinks(JSON.stringify([link]), JSON.stringify(neighbours)).get(1);
}

test("a whole link is complete", () => assert.equal(stateOf(whole), "complete"));

test("anything that differs makes it incomplete", () => {
  assert.equal(stateOf({ ...whole, flags: ["BROADCAST"] }), "incomplete");
  assert.equal(stateOf({ ...whole, address: slotMac }), "incomplete");
  assert.equal(stateOf({ ...whole, addr_info: [] }), "incomplete");
  assert.equal(
    stateOf({ ...whole, addr_info: [...whole.addr_info, { family: "inet6", local: "fe80::1", prefixlen: 64 }] }),
    "incomplete",
  );
  assert.equal(stateOf(whole, []), "incomplete");
  assert.equal(stateOf(whole, [{ ...neighbour, lladdr: hostMac }]), "incomplete");
});

test("foreign links are not ours, and a number beyond every slot still is", () => {
  const links = ["eth0", "lob-x", "lob-40000"].map((ifname) => ({ ...whole, ifname }));
  assert.deepEqual([...readSlotLinks(JSON.stringify(links), "")], [[40_000, "incomplete"]]);
});

test("no output is an empty list", () => assert.equal(readSlotLinks("", "").size, 0));

test("links are named by the kernel's own table, too", () => {
  const table = [
    "Inter-|   Receive                            |  Transmit",
    " face |bytes    packets errs drop fifo frame |bytes    packets",
    "    lo: 19690343   47761    0    0    0     0 19690343   47761",
    " lob-3:       0       0    0    0    0     0        0       0",
    "lob-40000:12345678901234567890 1 0 0 0 0 0 0",
    "lob-x:        0       0    0    0    0     0        0       0",
    "",
  ].join("\n");
  assert.deepEqual([...readLinkedSlots(table)], [3, 40_000]);
});
