import assert from "node:assert/strict";
import { test } from "node:test";
import { patienceMs } from "./patience.ts";

test("a guest has five seconds on a quiet host, as much more as its core is wanted, and never more than fifteen", () => {
  assert.deepEqual(
    [0, 1, 2, 3, 3.3333, 4, 6, 60].map((wanting) => patienceMs(wanting, 2)),
    [5_000, 5_000, 5_000, 7_500, 8_333, 10_000, 15_000, 15_000],
  );
});

test("what this host says is understood", () => {
  const limitMs = patienceMs();
  assert.ok(limitMs >= 5_000 && limitMs <= 15_000, String(limitMs));
});
