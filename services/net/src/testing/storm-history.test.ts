import assert from "node:assert/strict";
import { test } from "node:test";
import { type Call, faultsOf, type Host, heldAfter, type Request } from "./storm-history.ts";

const limits = { sentKbits: 1000, receivedKbits: 1000, sentPackets: 100, receivedPackets: 100 };
const host: Host = { slotCount: 4, capacity: 2, isDenied: ({ mode }) => mode === "list" };
const attach = (slot: number): Request => ({ kind: "attach", slot, egress: { mode: "internet" }, limits });
const denied: Request = { kind: "attach", slot: 0, egress: { mode: "list", rules: [] }, limits };
const detach: Request = { kind: "detach" };

function call(vmId: string, request: Request, from: number, until: number, answer = "done"): Call {
  return { vmId, request, window: { from, until }, answer };
}

const faults = (...calls: Call[]): number => faultsOf(calls, [], host).length;

test("a slot that is held is refused to others, and no free one is", () => {
  const held = call("a", attach(0), 1, 2);
  assert.equal(faults(held, call("b", attach(0), 3, 4, "SLOT_TAKEN")), 0);
  assert.equal(faults(held, call("b", attach(1), 3, 4, "SLOT_TAKEN")), 1);
  assert.equal(faults(held, call("a", attach(0), 3, 4)), 0, "the same again is the same");
  assert.equal(faults(held, call("a", attach(1), 3, 4, "VM_ATTACHED_ELSEWHERE")), 0);
  assert.equal(faults(held, call("a", attach(1), 3, 4)), 1);
});

test("of what runs at the same time either order is right", () => {
  const calls = [call("a", attach(0), 1, 2), call("a", detach, 3, 6)];
  assert.equal(faults(...calls, call("b", attach(0), 4, 5)), 0);
  assert.equal(faults(...calls, call("b", attach(0), 4, 5, "SLOT_TAKEN")), 0);
  assert.equal(faults(...calls, call("b", attach(0), 7, 8, "SLOT_TAKEN")), 1);
});

test("two microVMs never have one slot", () => {
  const calls = [call("a", attach(0), 1, 4), call("b", attach(0), 2, 3)];
  assert.match(faultsOf(calls, [], host).join(), /slot 0 was a's and b's at once/);
});

test("refusals for what was asked are right for that alone", () => {
  assert.equal(faults(call("a", attach(4), 1, 2, "SLOT_OUT_OF_RANGE")), 0);
  assert.equal(faults(call("a", denied, 1, 2, "EGRESS_RANGE_DENIED")), 0);
  assert.equal(faults(call("a", attach(0), 1, 2, "EGRESS_RANGE_DENIED")), 1);
  assert.equal(faults(call("a", detach, 1, 2, "UNKNOWN")), 1);
  const update: Request = { kind: "update", egress: { mode: "none" } };
  assert.equal(faults(call("a", update, 1, 2, "NETWORK_NOT_FOUND")), 0);
  assert.equal(faults(call("a", update, 1, 2)), 1);
});

test("a full connection table refuses, and only a full one", () => {
  const two = [call("a", attach(0), 1, 2), call("b", attach(1), 3, 4)];
  assert.equal(faults(...two, call("c", attach(2), 5, 6, "CONNTRACK_TOO_SMALL")), 0);
  assert.equal(faults(...two, call("c", attach(2), 5, 6)), 1);
  assert.equal(faults(call("a", attach(0), 1, 2), call("c", attach(2), 5, 6, "CONNTRACK_TOO_SMALL")), 1);
});

test("the kernel lets through those who have a network, and nobody else", () => {
  const calls = [call("a", attach(0), 1, 2), call("a", detach, 5, 6)];
  const seen = (slots: number[], from: number, until: number): number =>
    faultsOf(calls, [{ slots: new Set(slots), window: { from, until } }], host).length;
  assert.deepEqual([seen([0], 3, 4), seen([], 3, 4), seen([1, 0], 3, 4)], [0, 1, 1]);
  assert.deepEqual([seen([0], 5.5, 5.6), seen([], 5.5, 5.6), seen([0], 7, 8)], [0, 0, 1]);
});

test("what is left has the last policy that was set", () => {
  const calls = [
    call("b", attach(1), 1, 2),
    call("a", attach(0), 3, 4),
    call("a", { kind: "update", egress: { mode: "none" } }, 5, 6),
    call("b", detach, 7, 8),
  ];
  assert.deepEqual(heldAfter(calls), [{ vmId: "a", slot: 0, egress: { mode: "none" }, limits }]);
});
