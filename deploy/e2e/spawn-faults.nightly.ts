import { after, afterEach, before, test } from "node:test";
import { spawnSteps } from "@lobsterd/vm/lifecycle/journal.ts";
import { clearFault } from "./faults/control.ts";
import { failSpawn, faultyTenant } from "./faults/kill.ts";
import { env, evict, settledInventory } from "./subject.ts";

const runDir = env.LOBSTERD_RUN_DIR;
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
