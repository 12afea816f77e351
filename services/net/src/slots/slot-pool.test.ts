import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import type { SlotBuilder, SlotInventory } from "./slot-builder.ts";
import { createSlotPool } from "./slot-pool.ts";

const logger = createLogger({ service: "net", level: "silent" });
const never = new AbortController().signal;

/** A builder that finishes when told; `broken` slots cannot be made. */
function fakeBuilder(found: SlotInventory = { links: new Map(), namespaces: new Set() }) {
  const made: number[] = [];
  const broken = new Set<number>();
  let gate = Promise.resolve();
  const builder: SlotBuilder = {
    async make(slots) {
      await gate;
      if (slots.some((slot) => broken.has(slot))) throw new Error("no");
      made.push(...slots);
    },
    remove: async () => undefined,
    relink: async () => undefined,
    restoreRules: async () => false,
    inventory: async () => found,
  };
  const hold = (): (() => void) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    return resolve;
  };
  return { builder, made, broken, hold };
}

function open(builder: SlotBuilder, slotReadyTimeoutMs = 60_000) {
  return createSlotPool(builder, { slotCount: 10, netnsDir: "/n", slotReadyTimeoutMs }, logger);
}

describe("the pool", () => {
  test("makes cold slots in order and then has nothing to do", async () => {
    const { builder, made } = fakeBuilder();
    const pool = open(builder);
    await pool.fill(never);
    await pool.fill(never);
    assert.deepEqual(made, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test("keeps what it finds whole, except a used slot", async () => {
    const names = [3, 4].map((slot) => `/n/slot-${slot}`);
    const { builder, made, broken } = fakeBuilder({
      links: new Map([
        [3, "complete"],
        [4, "complete"],
        [5, "complete"],
        [6, "incomplete"],
      ]),
      namespaces: new Set([...names, "/n/slot-6"]),
    });
    const pool = open(builder);
    broken.add(4);
    pool.retire(4, () => undefined);
    await assert.rejects(pool.ready(4));
    broken.clear();
    await pool.fill(never);
    assert.deepEqual(made.toSorted(), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
  });

  test("one slot that cannot be made leaves only its batch cold", async () => {
    const { builder, made, broken } = fakeBuilder();
    broken.add(0);
    const pool = open(builder);
    await assert.rejects(pool.fill(never), AggregateError);
    assert.deepEqual(made, [4, 5, 6, 7, 8, 9]);
    assert.deepEqual([...pool.warm().keys()], [4, 5, 6, 7, 8, 9]);
  });

  test("makes a slot at once that is asked for before it is warm", async () => {
    const { builder, made } = fakeBuilder();
    await open(builder).ready(9);
    assert.deepEqual(made, [9]);
  });

  test("an attach waits for a slot that is being made anew, and only then is its state gone", async () => {
    const { builder, hold } = fakeBuilder();
    const pool = open(builder);
    await pool.ready(1);
    const release = hold();
    let done = false;
    pool.retire(1, () => {
      done = true;
    });
    assert.equal(pool.warm().has(1), false);
    const ready = pool.ready(1).then(() => done);
    release();
    assert.equal(await ready, true);
  });

  test("waits no longer than it may", async () => {
    const { builder, hold } = fakeBuilder();
    const pool = open(builder, 1);
    const release = hold();
    await assert.rejects(pool.ready(1), (error) => reasonOf(error) === "SLOT_NOT_READY");
    release();
  });
});
