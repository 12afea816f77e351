import assert from "node:assert/strict";
import { test } from "node:test";
import { type Export, ExportRing } from "./export-ring.ts";

const one = (body: string): Export => ({ path: "/v1/traces", body });
const bodies = (ring: ExportRing, last: number) => ring.after(last).exports.map(({ body }) => body);

test("each export is given once to who asks with the last number", () => {
  const ring = new ExportRing(100);
  ring.add(one("a"));
  ring.add(one("b"));
  assert.deepEqual(bodies(ring, 0), ["a", "b"]);
  assert.equal(ring.after(0).last, 2);
  assert.deepEqual(bodies(ring, 2), []);
  ring.add(one("c"));
  assert.deepEqual(bodies(ring, 2), ["c"]);
});

test("the oldest go for room, and a number of an earlier run starts anew", () => {
  const ring = new ExportRing(3);
  for (const body of ["a", "b", "c", "d"]) ring.add(one(body));
  assert.deepEqual(bodies(ring, 0), ["b", "c", "d"]);
  assert.deepEqual(bodies(ring, 3), ["d"]);
  assert.deepEqual(bodies(ring, 900), ["b", "c", "d"]);
  ring.add(one("too long"));
  assert.deepEqual(bodies(ring, 0), []);
});
