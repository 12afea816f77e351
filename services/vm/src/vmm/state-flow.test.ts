import assert from "node:assert/strict";
import { PassThrough, Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import { arriving, noteFailure, openFlow, portFailure } from "./state-flow.ts";

test("a state that stalls is TIMED_OUT, one that is too long VMM_FAILED, and what passed is counted", async () => {
  const stalling = openFlow(100, 20);
  const silent = new PassThrough();
  const watched = stalling.watch(silent, silent);
  const failure = await pipeline(watched, new PassThrough(), { signal: stalling.signal }).then(
    () => undefined,
    (error: unknown) => stalling.cause(error),
  );
  assert.equal((failure as { reason?: string }).reason, "TIMED_OUT");

  const flow = openFlow(5);
  const pass = async (...chunks: string[]) => {
    const state = Readable.from(chunks.map((text) => Buffer.from(text)));
    for await (const _ of flow.watch(state, state));
  };
  await pass("ab", "c");
  assert.equal(flow.bytes(), 3);
  await assert.rejects(pass("def"), { reason: "VMM_FAILED" });
  const unlimited = openFlow(Number.NaN);
  const state = Readable.from([Buffer.of(1)]);
  const reading = unlimited.watch(state, state).next();
  await assert.rejects(reading, { reason: "VMM_FAILED" }, "no known limit is no limit at all");
  flow.end();
  unlimited.end();
});

test("a sink that takes nothing is TIMED_OUT too", async () => {
  const flow = openFlow(1_000_000, 20);
  const state = Readable.from(Array.from({ length: 10 }, () => Buffer.alloc(1000)));
  const stuck = new Writable({ highWaterMark: 1, write: () => {} });
  const failure = await pipeline(flow.watch(state, state), stuck, { signal: flow.signal }).then(
    () => undefined,
    (error: unknown) => flow.cause(error),
  );
  assert.equal((failure as { reason?: string }).reason, "TIMED_OUT");
  assert.ok(stuck.destroyed);
});

test("a source that fails before it is read ends nothing but its load, and is told as it is", async () => {
  const state = new PassThrough();
  const source = noteFailure(state);
  const broken = new Error("the seal is broken");
  state.destroy(broken);
  await assert.rejects(source.read().next(), broken);
  assert.equal(source.failure(), broken);
  assert.equal((portFailure(broken) as { reason?: string }).reason, "VMM_FAILED");
  const cut = portFailure(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
  assert.match((cut as Error).message, /\(EPIPE\)$/);
});

test("what arrives comes in its own pieces, to its end, and a channel that is closed before is a failure", async () => {
  const channel = new PassThrough();
  for (const text of ["one", "two"]) channel.write(text);
  channel.end("three");
  const pieces: string[] = [];
  for await (const piece of arriving(channel)) pieces.push(piece.toString());
  assert.deepEqual(pieces, ["one", "two", "three"]);
  for (const reason of [undefined, new Error("cut off")]) {
    const cut = new PassThrough();
    cut.on("error", () => undefined);
    const reading = arriving(cut);
    cut.write("one");
    assert.equal((await reading.next()).value?.toString(), "one");
    cut.destroy(reason);
    await assert.rejects(reading.next(), reason ?? /before its end/);
    await assert.rejects(arriving(cut).next(), reason ?? /before its end/);
  }
});

test("a channel whose pieces nobody takes is paused", async () => {
  const channel = new PassThrough({ highWaterMark: 1 });
  const reading = arriving(channel);
  const first = reading.next();
  let taken = 0;
  while (taken < 1000 && (channel.write("x") || (await settles(channel)))) taken += 1;
  assert.ok(taken < 100, `${taken} were taken`);
  assert.equal((await first).value?.toString(), "x");
  channel.destroy();
});

/** Whether it takes more within a few turns. */
async function settles(channel: PassThrough): Promise<boolean> {
  for (let turn = 0; turn < 10 && channel.writableNeedDrain; turn++) await new Promise(setImmediate);
  return !channel.writableNeedDrain;
}
