import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { openBootTurn } from "./boot-turn.ts";

const never = () => Promise.reject(new Error("nothing is overdue"));

test("one VM boots at a time, in the order in which they asked", async () => {
  const turn = openBootTurn(60_000, never);
  const order: string[] = [];
  await turn.take("a");
  await turn.take("a"); // its second connection
  const others = ["b", "c"].map((vmId) => turn.take(vmId).then(() => order.push(vmId)));
  await Promise.resolve();
  assert.deepEqual(order, []);
  turn.end("a");
  await others[0];
  assert.deepEqual(order, ["b"]);
  turn.end("a");
  turn.end("b");
  await others[1];
  turn.end("c");
  await turn.take("d");
  turn.end("d");
});

test("a VM that is removed while it waits gives up, and the others move up", async () => {
  const turn = openBootTurn(60_000, never);
  await turn.take("a");
  const [gone, next] = [turn.take("b"), turn.take("c")];
  turn.end("b");
  await assert.rejects(gone, /ended/);
  turn.end("a");
  await next;
  turn.end("c");
});

test("a VM that keeps the turn too long is killed, and the next one boots", async () => {
  const killed = new EventTarget();
  const death = once(killed, "a");
  const turn = openBootTurn(1, async (vmId) => void killed.dispatchEvent(new Event(vmId)));
  await turn.take("a");
  // The turn's own timer does not keep a process alive.
  const alive = setInterval(() => {}, 1_000);
  try {
    await turn.take("b");
    await death;
  } finally {
    clearInterval(alive);
    turn.end("b");
  }
});

test("who asks again for the same VM takes the place of the one that waits", async () => {
  const turn = openBootTurn(60_000, never);
  await turn.take("a");
  const forgotten = turn.take("b");
  const current = turn.take("b");
  await assert.rejects(forgotten, { reason: "CHANNEL_BUSY" });
  turn.end("a");
  assert.equal(await current, true);
  turn.end("b");
});
