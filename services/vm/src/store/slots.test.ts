import assert from "node:assert/strict";
import { test } from "node:test";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { migrations } from "./schema.ts";
import { openSlotStore } from "./slots.ts";

const quarantineMs = 60_000;

test("slots that were never used come first, then the one that has been free longest", () => {
  const slots = openSlotStore(openDatabase(":memory:", migrations), 3, quarantineMs);
  assert.equal(slots.choose(0), 0);
  slots.release(0, 1000);
  slots.release(1, 500);
  assert.equal(slots.choose(1000), 2);
  slots.release(2, 800);
  assert.equal(slots.choose(100_000), 1);
});

test("a slot in quarantine is not chosen, to the millisecond", () => {
  const slots = openSlotStore(openDatabase(":memory:", migrations), 1, quarantineMs);
  slots.release(0, 1000);
  assert.equal(slots.choose(1000 + quarantineMs - 1), undefined);
  assert.equal(slots.choose(1000 + quarantineMs), 0);
});

test("a clock that was set back does not lock a slot away", () => {
  const slots = openSlotStore(openDatabase(":memory:", migrations), 1, quarantineMs);
  slots.release(0, 1_000_000_000);
  assert.equal(slots.choose(1000), 0);
});
