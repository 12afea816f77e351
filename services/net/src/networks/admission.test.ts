import assert from "node:assert/strict";
import { test } from "node:test";
import { conntrackNeed, isQuarantined, networksWithin } from "./admission.ts";

test("the connection table's need is HOST-05's table", () => {
  assert.equal(conntrackNeed(100, 1024), 276_480);
  assert.equal(conntrackNeed(1000, 1024), 2_580_480);
});

test("what a table is enough for is the formula read backwards", () => {
  for (const count of [0, 1, 63, 94, 1000]) {
    const need = conntrackNeed(count, 1024);
    assert.equal(networksWithin(need, 1024), count);
    assert.equal(networksWithin(need - 1, 1024), Math.max(0, count - 1));
  }
  assert.equal(networksWithin(262_144, 1024), 94);
});

test("a clock that was set back does not lock an address away", () => {
  assert.equal(isQuarantined(1_000_000, 1000, 60_000), false);
  assert.equal(isQuarantined(1000, 1000, 60_000), true);
});
