import assert from "node:assert/strict";
import { test } from "node:test";
import { median, spread } from "./statistics.ts";

test("the median is the middle, or the mean of the two middles", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.throws(() => median([]), RangeError);
  assert.deepEqual(spread([3, 1, 2]), { low: 1, high: 3 });
});
