import assert from "node:assert/strict";
import { test } from "node:test";
import { every, waitFor } from "./lifecycle.ts";
import { captureLogs } from "./testing.ts";

test("waiting ends with the value, with the limit, with the signal and with an unexpected failure", async () => {
  let probes = 0;
  const probe = async () => {
    probes += 1;
    return probes < 3 ? undefined : "found";
  };
  assert.equal(await waitFor("thing", probe, { timeoutMs: 1000, intervalMs: 1 }), "found");
  const never = async () => undefined;
  await assert.rejects(waitFor("thing", never, { timeoutMs: 20, intervalMs: 5 }), /thing did not happen within 20 ms/);
  const stopped = AbortSignal.abort(new Error("stopping"));
  await assert.rejects(waitFor("thing", never, { timeoutMs: 1000, intervalMs: 5, signal: stopped }), /stopping/);
  const broken = () => Promise.reject(new Error("broken"));
  await assert.rejects(waitFor("thing", broken, { timeoutMs: 1000, intervalMs: 5 }), /broken/);
});

test("a periodic task never overlaps itself, survives a failure and ends with its signal", async () => {
  const stop = new AbortController();
  const { logger, logs } = captureLogs();
  let running = 0;
  let most = 0;
  let runs = 0;
  const enough = Promise.withResolvers<void>();
  const task = async () => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
    runs += 1;
    if (runs === 3) enough.resolve();
    if (runs === 1) throw new Error("once");
  };
  const alive = setInterval(() => undefined, 1000);
  every(1, "task", task, { signal: stop.signal, logger });
  await enough.promise;
  stop.abort();
  clearInterval(alive);
  assert.equal(most, 1);
  assert.equal(logs.filter(({ message }) => message === "periodic task failed").length, 1);
});
