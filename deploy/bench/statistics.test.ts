import assert from "node:assert/strict";
import { test } from "node:test";
import { median, quantile, spread } from "./statistics.ts";

test("the median is the middle, or the mean of the two middles", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.throws(() => median([]), RangeError);
  assert.deepEqual(spread([3, 1, 2]), { low: 1, high: 3 });
});

test("a quantile is the sample that its share of the others are below", () => {
  const samples = Array.from({ length: 100 }, (_, at) => 100 - at);
  assert.equal(quantile(samples, 0.5), 51);
  assert.equal(quantile(samples, 0.99), 100);
  assert.equal(quantile([7], 1), 7);
  assert.throws(() => quantile([], 0.5), RangeError);
});
