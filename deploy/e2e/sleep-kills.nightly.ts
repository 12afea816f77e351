import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { resumeSteps, suspendSteps } from "@lobsterd/vm/lifecycle/journal.ts";
import { clearFault } from "./faults/control.ts";
import { killAt, processesOfSlot, runDir, type Sleeper, spawnSleeper } from "./sleep/sleeper.ts";
import { evict } from "./subject.ts";

const name = "restless";
const rounds = Number.parseInt(process.env["SLEEP_KILL_ROUNDS"] ?? "10", 10);
let sleeper: Sleeper;

before(async () => {
  sleeper = await spawnSleeper(name);
});

afterEach(() => clearFault(runDir));

after(() => evict(name));

/** Running with its memory and one process, or suspended with none. */
async function requireWhole(): Promise<TenantState> {
  const state = await sleeper.settled();
  const { slot } = sleeper.tenant;
  assert.equal(processesOfSlot(slot).length, state === TenantState.RUNNING ? 1 : 0);
  if (state === TenantState.RUNNING) await sleeper.requireMemory();
  return state;
}

async function bringTo(wanted: TenantState): Promise<void> {
  if ((await sleeper.settled()) === wanted) return;
  await (wanted === TenantState.RUNNING ? sleeper.resume() : sleeper.suspend());
}

for (const victim of ["vm", "vm-launcher"] as const) {
  for (const [from, steps] of [
    [TenantState.RUNNING, suspendSteps],
    [TenantState.SUSPENDED, resumeSteps],
  ] as const) {
    for (const step of steps) {
      for (const moment of ["started", "done"] as const) {
        test(`kill -9 of ${victim} ${rounds} times when ${step} is ${moment} leaves one tenant with its memory`, async () => {
          for (let round = 0; round < rounds; round++) {
            await bringTo(from);
            await killAt(victim, step, moment, from === TenantState.RUNNING ? sleeper.suspend : sleeper.resume);
            await requireWhole();
          }
          await bringTo(TenantState.RUNNING);
          await requireWhole();
        });
      }
    }
  }
}
