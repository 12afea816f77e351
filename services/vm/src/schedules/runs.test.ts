import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ScheduledRunSchema, ScheduleKind } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { isRunDue, nextWake, type ScheduledRun, toScheduledRuns } from "./runs.ts";

const second = 1000;
const dayMs = 24 * 3_600_000;
const nowMs = Date.UTC(2026, 10, 26);
/** Awake for an hour, with nothing served yet. */
const moment = { nowMs, runTimeMs: nowMs - 3_600_000, servedThroughMs: 0, leadMs: 15 * second };
const at = (...aheadMs: readonly number[]): ScheduledRun[] => aheadMs.map((ms) => ({ kind: "at", timeMs: nowMs + ms }));
const wakeIn = (runs: readonly ScheduledRun[], change: Partial<typeof moment> = {}) => {
  const wakeMs = nextWake(runs, { ...moment, ...change });
  return wakeMs === undefined ? undefined : wakeMs - nowMs;
};

test("a tenant is woken ahead of the earliest of its runs, however far it is", () => {
  assert.equal(wakeIn([]), undefined);
  assert.equal(wakeIn(at(3_600_000, 60_000, 90_000)), 45_000);
  assert.equal(wakeIn(at(365 * dayMs)), 365 * dayMs - 15 * second);
});

test("a wake is between 10 s and 400 days ahead, whatever the guest says", () => {
  assert.equal(wakeIn(at(1)), 10 * second);
  assert.equal(wakeIn(at(20 * second)), 10 * second);
  for (const wild of [500 * dayMs, Number.MAX_SAFE_INTEGER, 1e300]) assert.equal(wakeIn(at(wild)), 400 * dayMs);
});

test("what has passed while the tenant was awake is not owed, what has passed just now or while it slept is, once", () => {
  assert.equal(wakeIn(at(-76 * second)), undefined);
  assert.equal(wakeIn(at(-dayMs)), undefined);
  assert.equal(wakeIn(at(-74 * second)), 10 * second);
  const justResumed = { runTimeMs: nowMs - 5 * second };
  assert.equal(wakeIn(at(-dayMs, -2 * dayMs), justResumed), 10 * second);
  assert.equal(wakeIn(at(-dayMs, -2 * dayMs), { ...justResumed, servedThroughMs: nowMs }), undefined);
  assert.equal(wakeIn(at(-dayMs, 60_000), { ...justResumed, servedThroughMs: nowMs }), 45_000, "the next one is");
});

test("a wake under a clock that was ahead has served nothing", () => {
  const justServed = { servedThroughMs: nowMs + 15 * second };
  assert.equal(wakeIn(at(15 * second), justServed), undefined, "as far as a wake of just now serves");
  assert.equal(wakeIn(at(dayMs), { servedThroughMs: nowMs + 15 * second + 1 }), dayMs - 15 * second);
  assert.equal(wakeIn(at(dayMs), { servedThroughMs: nowMs + 30 * dayMs }), dayMs - 15 * second);
});

test("a run is due from shortly before it until the workload must have seen it, also one that was slept through", () => {
  const due = (aheadMs: number, change: Partial<typeof moment> = {}) => isRunDue(at(aheadMs), { ...moment, ...change });
  assert.deepEqual(
    [due(26 * second), due(25 * second), due(-74 * second), due(-75 * second)],
    [false, true, true, false],
  );
  const resumed = { runTimeMs: nowMs - 74 * second };
  assert.equal(due(-dayMs, resumed), true);
  assert.equal(due(-dayMs, { runTimeMs: nowMs - 75 * second }), false);
});

test("kinds are told apart, and what has none or no time is left out", () => {
  const { CRON, INTERVAL, AT, HEARTBEAT, UNSPECIFIED } = ScheduleKind;
  const time = { seconds: 7n, nanos: 5_000_000 };
  const messages = [CRON, INTERVAL, AT, HEARTBEAT, UNSPECIFIED, 9 as ScheduleKind].map((kind) =>
    create(ScheduledRunSchema, { kind, time }),
  );
  assert.deepEqual(
    toScheduledRuns([...messages, create(ScheduledRunSchema, { kind: AT })]),
    ["cron", "interval", "at", "heartbeat"].map((kind) => ({ kind, timeMs: 7005 })),
  );
  assert.ok(
    Number.isFinite(wakeIn(toScheduledRuns([create(ScheduledRunSchema, { kind: AT, time: { seconds: 2n ** 62n } })]))),
  );
});
