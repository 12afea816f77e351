import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { manualClock } from "@lobsterd/chassis/testing.ts";
import { createPublisher } from "./publisher.ts";

function stage() {
  const clock = manualClock();
  const kept: string[][] = [];
  const told: string[] = [];
  const fault: { error?: Error } = {};
  const publisher = createPublisher({
    store: {
      kind: "directory" as const,
      name: "witness",
      async put(notes) {
        if (fault.error !== undefined) throw fault.error;
        kept.push([...notes]);
      },
    },
    lateMs: 60_000,
    now: clock.now,
    observer: {
      late: (store, waitingMs, error) => void told.push(`${store} late by ${waitingMs}: ${error}`),
      caughtUp: (store) => void told.push(`${store} caught up`),
    },
  });
  const { signal } = new AbortController();
  const step = async (ms: number) => {
    clock.advance(ms);
    await publisher.step(signal);
  };
  return { publisher, kept, told, fault, step };
}

describe("a publisher of checkpoints", () => {
  it("brings every note to its store once, oldest first", async () => {
    const { publisher, kept, told, step } = stage();
    publisher.offer("1");
    publisher.offer("2");
    await step(0);
    await step(1000);
    publisher.offer("3");
    await step(1000);
    assert.deepEqual(kept, [["1", "2"], ["3"]]);
    assert.deepEqual(told, []);
  });

  it("keeps what its store does not take, comes again ever more slowly, and says so once after the bound", async () => {
    const { publisher, kept, told, fault, step } = stage();
    fault.error = new Error("away");
    publisher.offer("1");
    for (let second = 0; second < 60; second += 1) await step(1000);
    assert.deepEqual(told, []);
    await step(1000);
    await step(1000);
    assert.deepEqual(told, ["witness late by 61000: Error: away"]);
    publisher.offer("2");
    delete fault.error;
    for (let second = 0; second < 15; second += 1) await step(1000);
    assert.deepEqual(kept, [["1", "2"]]);
    assert.deepEqual(told.slice(1), ["witness caught up"]);
  });

  it("holds a bounded number of notes, the oldest and the newest among them", async () => {
    const { publisher, kept, step } = stage();
    for (let number = 0; number < 100_000; number += 1) publisher.offer(String(number));
    await step(0);
    const [notes = []] = kept;
    assert.ok(notes.length <= 257);
    assert.equal(notes[0], "0");
    assert.equal(notes.at(-1), "99999");
  });
});
