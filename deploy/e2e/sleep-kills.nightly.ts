import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import { TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { resumeSteps, suspendSteps } from "@lobsterd/vm/lifecycle/journal.ts";
import { clearFault } from "./faults/control.ts";
import { killAt, processesOfSlot, runDir, type Sleeper, spawnSleeper, spoolDir } from "./sleep/sleeper.ts";
import { env, eventually, evict } from "./subject.ts";

const name = "restless";
const rounds = Number.parseInt(process.env["SLEEP_KILL_ROUNDS"] ?? "10", 10);
/** What a resume left is swept by the reconciler, if nobody came to it before. */
const spoolLimitMs = 30_000;
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

/** What it has in its memory and on its disk is on no disk of the host, and in its tmpfs only while it is loaded. */
async function requireHidden(): Promise<void> {
  assert.deepEqual(sleeper.filesWithMarker(env.LOBSTERD_STATE_DIR), []);
  await eventually("the spool is empty", spoolLimitMs, async () => readdirSync(spoolDir).length === 0 || undefined);
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
        test(`kill -9 of ${victim} ${rounds} times when ${step} is ${moment} leaves one tenant with its memory, which is on no disk`, async () => {
          for (let round = 0; round < rounds; round++) {
            await bringTo(from);
            await killAt(victim, step, moment, from === TenantState.RUNNING ? sleeper.suspend : sleeper.resume);
            await requireWhole();
          }
          await requireHidden();
          await bringTo(TenantState.RUNNING);
          await requireWhole();
        });
      }
    }
  }
}
