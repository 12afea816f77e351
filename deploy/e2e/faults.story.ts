import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { type SpawnStep, spawnSteps } from "@lobsterd/vm/lifecycle/journal.ts";
import { describeInstance } from "../dev/instance.ts";
import type { ProcessName } from "../dev/processes.ts";
import { openStack } from "../dev/stack.ts";
import { clearFault, faultReached, setFault } from "./faults/control.ts";
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
  for (const name of ["faulty", "steady"]) await evict(name);
});

/** The name is free again and the host as it was. */
async function assertNothingLeft(): Promise<void> {
  await eventually("the removal of the tenant", 60_000, async () => {
    const { tenants } = await clients.tenants.listTenants({});
    return tenants.some(({ name }) => name === "faulty") ? undefined : true;
  });
  await assertUnchangedSince(inventory);
}

/** Kills a process, does something while it is away, and waits until its successor is healthy. */
async function killAndReplace(name: ProcessName, meanwhile: () => unknown = () => undefined): Promise<void> {
  const pid = await stack.pid(name);
  await stack.killProcess(name, "SIGKILL");
  await meanwhile();
  await stack.waitReplaced(name, pid);
  await stack.waitHealthy(name);
}

for (const step of spawnSteps) {
  for (const moment of ["started", "done"] as const) {
    test(`a spawn that fails when ${step} is ${moment} leaves nothing`, async () => {
      setFault(runDir, { step, moment, action: "fail" });
      await assert.rejects(spawn("faulty"));
      clearFault(runDir);
      await assertNothingLeft();
    });
  }
}

const victims = ["vm", "vm-launcher", "net", "proxy", "secrets", "audit"] as const;

/** Where in a spawn each process is killed: while it, or what it made, is needed. */
const moments: Readonly<Record<(typeof victims)[number], SpawnStep>> = {
  vm: "boot-guest",
  "vm-launcher": "boot-guest",
  net: "boot-guest",
  audit: "boot-guest",
  secrets: "inject-secrets",
  proxy: "publish-route",
};

for (const victim of victims) {
  test(`kill -9 of ${victim} when a spawn has come to ${moments[victim]} leaves nothing in the end`, async () => {
    setFault(runDir, { step: moments[victim], moment: "started", action: "hold" });
    const spawning = spawn("faulty").catch(() => undefined);
    await faultReached(runDir);
    await killAndReplace(victim, () => clearFault(runDir));
    // A spawn that goes on is cancelled, and one that its caller repeated meanwhile goes as well.
    await evict("faulty").catch(() => undefined);
    await spawning;
    await evict("faulty").catch(() => undefined);
    await assertNothingLeft();
  });
}

test("a running tenant keeps answering while every process is killed and restarted, and is managed again afterwards", async () => {
  const { vmId } = await spawn("steady");
  for (const victim of [...victims, "nats"] as const) {
    await killAndReplace(victim, async () => {
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
  await killAndReplace("caddy");
  await eventually("an answer after Caddy came back", 15_000, async () =>
    (await ask("steady")).status === 200 ? true : undefined,
  );
  await evict("steady");
  await assertUnchangedSince(inventory);
});
