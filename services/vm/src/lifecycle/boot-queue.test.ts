import assert from "node:assert/strict";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { createBootQueue } from "./boot-queue.ts";

const never = new AbortController().signal;

test("as many enter as there are places, the rest in order", async () => {
  const queue = createBootQueue(2, 8);
  const first = await queue.enter(never);
  await queue.enter(never);
  const order: string[] = [];
  const third = queue.enter(never).then((place) => {
    order.push("third");
    return place;
  });
  const fourth = queue.enter(never).then((place) => {
    order.push("fourth");
    return place;
  });
  assert.equal(queue.waiting, 2);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  (await third)[Symbol.dispose]();
  await fourth;
  assert.deepEqual(order, ["third", "fourth"]);
});

test("a full queue refuses at once, and one who leaves makes room", async () => {
  const queue = createBootQueue(1, 1);
  await queue.enter(never);
  const leaving = new AbortController();
  const waiting = queue.enter(leaving.signal);
  await assert.rejects(queue.enter(never), (error) => reasonOf(error) === "BOOT_QUEUE_FULL");
  leaving.abort(new Error("left"));
  await assert.rejects(waiting, /left/);
  assert.equal(queue.waiting, 0);
});
