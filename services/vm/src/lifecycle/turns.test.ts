import assert from "node:assert/strict";
import { test } from "node:test";
import { createTurns } from "./turns.ts";

test("turns of one microVM come one after the other, those of another beside them, and a failure is its caller's", async () => {
  const turns = createTurns();
  const order: string[] = [];
  const go = Promise.withResolvers<void>();
  const first = turns.take("a", async () => {
    order.push("a1 starts");
    await go.promise;
    order.push("a1 ends");
    throw new Error("told to fail");
  });
  const second = turns.take("a", async () => void order.push("a2"));
  await turns.take("b", async () => void order.push("b1"));
  go.resolve();
  await assert.rejects(first, /told to fail/);
  await second;
  assert.deepEqual(order, ["a1 starts", "b1", "a1 ends", "a2"]);
});

test("work that is begun in a turn is a part of it, and is cleared with it; what outlives the turn waits like any other", async () => {
  const turns = createTurns();
  const order: string[] = [];
  const later = Promise.withResolvers<void>();
  let outliving: Promise<void> | undefined;
  const outer = turns.take("a", async (signal) => {
    await turns.take("a", async (inner) => void order.push(inner === signal ? "inner" : "other signal"));
    outliving = later.promise.then(() => turns.take("a", async () => void order.push("outliving")));
    order.push("outer");
  });
  await outer;
  const busy = Promise.withResolvers<void>();
  const next = turns.take("a", async () => {
    later.resolve();
    await busy.promise;
    order.push("next");
  });
  await later.promise;
  busy.resolve();
  await Promise.all([next, outliving]);
  assert.deepEqual(order, ["inner", "outer", "next", "outliving"]);
  const started = Promise.withResolvers<void>();
  const cleared = turns.take("a", async (signal) => {
    started.resolve();
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    await turns.take("a", async () => assert.fail("must not start"));
  });
  await Promise.all([
    assert.rejects(cleared, /evicted/),
    started.promise.then(() => turns.clear("a", new Error("evicted"))),
  ]);
});

test("clearing ends what runs, keeps what waits from starting, and leaves later turns alone", async () => {
  const turns = createTurns();
  const started = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  let running = true;
  const first = turns.take("a", async (signal) => {
    started.resolve();
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    await ended.promise;
    running = false;
    signal.throwIfAborted();
  });
  const second = turns.take("a", async () => assert.fail("must not start"));
  const failures = Promise.allSettled([first, second]);
  await started.promise;
  const cleared = turns.clear("a", new Error("cleared")).then(() => assert.equal(running, false));
  ended.resolve();
  await cleared;
  for (const result of await failures) assert.match(String(result.status === "rejected" && result.reason), /cleared/);
  assert.equal(await turns.take("a", async () => "later"), "later");
  await turns.clear("a", new Error("nothing to clear"));
});
