import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { describeInstance } from "../dev/instance.ts";
import { openStack } from "../dev/stack.ts";
import { clearFault } from "./faults/control.ts";
import { failSpawn, faultyTenant, killAndReplace, killDuring, moments, victims } from "./faults/kill.ts";
import {
  ask,
  assertUnchangedSince,
  clients,
  env,
  eventually,
  evict,
  instance,
  settledInventory,
  spawn,
} from "./subject.ts";

const runDir = env.LOBSTERD_RUN_DIR;
const stack = openStack(describeInstance(instance));
let inventory: readonly string[] = [];

before(async () => {
  inventory = await settledInventory();
});

afterEach(() => clearFault(runDir));

after(async () => {
  clearFault(runDir);
  for (const name of [faultyTenant, "steady"]) await evict(name);
});

// Every step, failing before and after its effect, and every process killed in the middle are in `spawn-faults.nightly.ts`.
test("a spawn that fails when boot-guest is done leaves nothing", () =>
  failSpawn(runDir, "boot-guest", "done", inventory));

for (const victim of ["vm", "vm-launcher"] as const) {
  test(`kill -9 of ${victim} when a spawn has come to ${moments[victim]} leaves nothing in the end`, () =>
    killDuring(stack, victim, moments[victim], inventory));
}

test("a running tenant keeps answering while every process is killed and restarted, and is managed again afterwards", async () => {
  const { vmId } = await spawn("steady");
  for (const victim of [...victims, "nats"] as const) {
    await killAndReplace(stack, victim, async () => {
      const { status } = await ask("steady");
      assert.equal(status, 200, `while ${victim} is away`);
    });
    await eventually(`an answer after ${victim} came back`, 10_000, async () =>
      (await ask("steady")).status === 200 ? true : undefined,
    );
    const { tenant } = await eventually(`vm answering after ${victim} came back`, 10_000, () =>
      clients.tenants.getTenant({ name: "steady" }),
    );
    assert.equal(tenant?.vmId, vmId);
  }
  await killAndReplace(stack, "caddy");
  await eventually("an answer after Caddy came back", 15_000, async () =>
    (await ask("steady")).status === 200 ? true : undefined,
  );
  await evict("steady");
  await assertUnchangedSince(inventory);
});
