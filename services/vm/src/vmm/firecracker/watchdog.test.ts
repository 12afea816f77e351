import assert from "node:assert/strict";
import { test } from "node:test";
import { type PingOutcome, Watchdog } from "./watchdog.ts";

type Ping = PingOutcome | { readonly failsAfterMs: number };

/** A watchdog in a time of its own, over pings that take their time from it too. */
function watchdogOver(pings: readonly Ping[]) {
  let nowMs = 0;
  let next: { work: () => void; delayMs: number } | undefined;
  const pingedAtMs: number[] = [];
  const reports: number[] = [];
  const watchdog = new Watchdog({
    async ping() {
      const ping = pings[pingedAtMs.length] ?? "answers";
      pingedAtMs.push(nowMs);
      if (typeof ping === "string") return ping;
      nowMs += ping.failsAfterMs;
      throw new Error("no answer");
    },
    onUnresponsive: () => void reports.push(nowMs),
    now: () => nowMs,
    schedule(work, delayMs) {
      const scheduled = { work, delayMs };
      next = scheduled;
      return () => {
        if (next === scheduled) next = undefined;
      };
    },
  });
  const run = async (steps: number) => {
    for (let step = 0; step < steps && next !== undefined; step++) {
      const { work, delayMs } = next;
      next = undefined;
      nowMs += delayMs;
      work();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { watchdog, run, pingedAtMs, reports, isScheduled: () => next !== undefined };
}

const hangs: Ping = { failsAfterMs: 5_000 };
const fails: Ping = { failsAfterMs: 10 };

test("a VMM that hangs right after it answered is reported within 20 s, once", async () => {
  const { watchdog, run, pingedAtMs, reports, isScheduled } = watchdogOver(["answers", hangs, hangs, hangs]);
  watchdog.start();
  await run(20);
  assert.deepEqual(pingedAtMs, [4_000, 8_000, 13_000, 18_000]);
  assert.deepEqual(reports, [23_000]);
  assert.ok((reports[0] ?? 0) - 4_000 <= 20_000);
  assert.equal(isScheduled(), false);
});

test("failures that come at once are three intervals apart, not a burst", async () => {
  const { watchdog, run, pingedAtMs, reports } = watchdogOver([fails, fails, fails]);
  watchdog.start();
  await run(20);
  assert.deepEqual(pingedAtMs, [4_000, 8_000, 12_000]);
  assert.equal(reports.length, 1);
});

test("one answer forgives what came before, and what cannot be asked counts neither way", async () => {
  const { watchdog, run, reports } = watchdogOver([
    hangs,
    hangs,
    "answers",
    hangs,
    "unknown",
    hangs,
    "unknown",
    "unknown",
  ]);
  watchdog.start();
  await run(8);
  assert.deepEqual(reports, []);
  watchdog.stop();
  const other = watchdogOver([hangs, "unknown", hangs, "unknown", hangs]);
  other.watchdog.start();
  await other.run(5);
  assert.equal(other.reports.length, 1);
});

test("nothing is asked after the end, or after a stop", async () => {
  const ended = watchdogOver(["answers", "ended"]);
  ended.watchdog.start();
  await ended.run(20);
  assert.equal(ended.pingedAtMs.length, 2);
  const stopped = watchdogOver([hangs, hangs]);
  stopped.watchdog.start();
  await stopped.run(2);
  stopped.watchdog.stop();
  await stopped.run(20);
  assert.deepEqual([stopped.pingedAtMs.length, stopped.reports.length], [2, 0]);
});
