import { after, afterEach, before, test } from "node:test";
import { spawnSteps } from "@lobsterd/vm/lifecycle/journal.ts";
import { describeInstance } from "../dev/instance.ts";
import { openStack } from "../dev/stack.ts";
import { clearFault } from "./faults/control.ts";
import { failSpawn, faultyTenant, killDuring, moments, victims } from "./faults/kill.ts";
import { env, evict, instance, settledInventory } from "./subject.ts";

const runDir = env.LOBSTERD_RUN_DIR;
const stack = openStack(describeInstance(instance));
let inventory: readonly string[] = [];

before(async () => {
  inventory = await settledInventory();
});

afterEach(() => clearFault(runDir));

after(() => evict(faultyTenant));

for (const step of spawnSteps) {
  for (const moment of ["started", "done"] as const) {
    test(`a spawn that fails when ${step} is ${moment} leaves nothing`, () =>
      failSpawn(runDir, step, moment, inventory));
  }
}

for (const victim of victims) {
  test(`kill -9 of ${victim} when a spawn has come to ${moments[victim]} leaves nothing in the end`, () =>
    killDuring(stack, victim, moments[victim], inventory));
}
