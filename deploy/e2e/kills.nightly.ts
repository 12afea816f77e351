import { after, afterEach, before, test } from "node:test";
import { spawnSteps } from "@lobsterd/vm/lifecycle/journal.ts";
import { describeInstance } from "../dev/instance.ts";
import { openStack } from "../dev/stack.ts";
import { clearFault } from "./faults/control.ts";
import { faultyTenant, killDuring, victims } from "./faults/kill.ts";
import { evict, instance, settledInventory } from "./subject.ts";

const stack = openStack(describeInstance(instance));
let inventory: readonly string[] = [];

before(async () => {
  inventory = await settledInventory();
});

afterEach(() => clearFault(stack.instance.runDir));

after(async () => {
  clearFault(stack.instance.runDir);
  await evict(faultyTenant);
});

for (const victim of victims) {
  for (const step of spawnSteps) {
    test(`kill -9 of ${victim} when a spawn has come to ${step} leaves nothing in the end`, () =>
      killDuring(stack, victim, step, inventory));
  }
}
