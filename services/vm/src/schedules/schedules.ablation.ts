/** Takes one control of schedules away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const runs = "services/vm/src/schedules/runs.ts";
const waker = "services/vm/src/schedules/waker.ts";
const store = "services/vm/src/store/tenants.ts";
const onRuns = "services/vm/src/schedules/runs.test.ts";
const onSchedules = "services/vm/src/schedules/schedules.test.ts";

const controls: readonly (readonly [what: string, removal: Removal, tests: string, name: string])[] = [
  [
    "the longest time ahead",
    { file: runs, find: "Math.min(nowMs + latestWakeMs, ", replace: "Math.max(" },
    onRuns,
    "a wake is between 10 s and 400 days",
  ],
  [
    "the shortest time ahead",
    { file: runs, find: "Math.max(nowMs + earliestWakeMs, firstMs - leadMs)", replace: "firstMs - leadMs" },
    onRuns,
    "a wake is between 10 s and 400 days",
  ],
  [
    "the note of what has had its wake",
    {
      file: store,
      find: "served_through_ms = coalesce(nullif(?, 0), ",
      replace: "served_through_ms = min(0, nullif(?, 0), ",
    },
    onSchedules,
    "a run that has passed and stays",
  ],
  [
    "the doubt of a wake that serves more than it can",
    { file: runs, find: "servedThroughMs > nowMs + leadMs ? 0 : servedThroughMs", replace: "servedThroughMs" },
    onSchedules,
    "a wake under a clock that was a month ahead",
  ],
  [
    "the end of what a clock that was ahead has noted",
    { file: store, find: "coalesce(nullif(?, 0), served_through_ms)", replace: "max(served_through_ms, ?)" },
    onSchedules,
    "a wake under a clock that was a month ahead",
  ],
  [
    "the end of a wake when its tenant runs",
    { file: store, find: "run_time_ms = ?, wake_time_ms = NULL,", replace: "run_time_ms = ?," },
    onSchedules,
    "who resumes a tenant before its time",
  ],
  [
    "the schedule as a condition of a suspend",
    {
      file: "services/vm/src/guest/agent-sleep.ts",
      find: "schedule ?? (await activity(tenant, scheduleLimitMs, signal));",
      replace: "schedule ?? { nextRuns: [] };",
    },
    "services/vm/src/guest/agent.test.ts",
    "a guest tells its schedule when its workload has agreed",
  ],
  [
    "the pause after a failed wake",
    { file: waker, find: "notBeforeMs: steadyNow() + pauseMs", replace: "notBeforeMs: 0" },
    onSchedules,
    "a wake that fails is tried again",
  ],
  [
    "the wait for audit",
    {
      file: "services/vm/src/schedules/open-schedules.ts",
      find: "await sink.append(",
      replace: "void sink.append(",
    },
    onSchedules,
    "a wake waits for audit",
  ],
  [
    "the time that a workload has to see its run",
    { file: runs, find: "nowMs < Math.max(timeMs, runTimeMs) + graceMs", replace: "nowMs < timeMs" },
    onSchedules,
    "a tenant that is woken is left the time",
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, removal, file, name]) => ({
  control,
  removals: [removal],
  noticedBy: { file, name },
}));

if (import.meta.main) ablate(ablations);
