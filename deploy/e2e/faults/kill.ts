/** Has a spawn fail, or kills a process of the stack in the middle of one, and checks that nothing is left in the end. */
import assert from "node:assert/strict";
import type { SpawnStep } from "@lobsterd/vm/lifecycle/journal.ts";
import type { ProcessName } from "../../dev/processes.ts";
import type { Stack } from "../../dev/stack.ts";
import { assertUnchangedSince, clients, eventually, evict, spawn } from "../subject.ts";
import { clearFault, type Fault, faultReached, setFault } from "./control.ts";

/** The processes that a spawn needs. */
export const victims = ["vm", "vm-launcher", "net", "proxy", "secrets", "audit"] as const;
export type Victim = (typeof victims)[number];

/** Where in a spawn each process is killed: while it, or what it made, is needed. */
export const moments: Readonly<Record<Victim, SpawnStep>> = {
  vm: "boot-guest",
  "vm-launcher": "boot-guest",
  net: "boot-guest",
  audit: "boot-guest",
  secrets: "inject-secrets",
  proxy: "publish-route",
};

/** Name of the tenant that faults happen to. */
export const faultyTenant = "faulty";

/** Kills a process, does something while it is away, and waits until its successor is healthy. */
export async function killAndReplace(
  stack: Stack,
  name: ProcessName,
  meanwhile: () => unknown = () => undefined,
): Promise<void> {
  const pid = await stack.pid(name);
  await stack.killProcess(name, "SIGKILL");
  await meanwhile();
  await stack.waitReplaced(name, pid);
  await stack.waitHealthy(name);
}

/** The name is free again and the host as it was. */
export async function assertNothingLeft(inventory: readonly string[]): Promise<void> {
  await eventually("the removal of the tenant", 60_000, async () => {
    const { tenants } = await clients.tenants.listTenants({});
    return tenants.some(({ name }) => name === faultyTenant) ? undefined : true;
  });
  await assertUnchangedSince(inventory);
}

/** Kills `victim` when a spawn has come to `step`. */
export async function killDuring(
  stack: Stack,
  victim: Victim,
  step: SpawnStep,
  inventory: readonly string[],
): Promise<void> {
  const { runDir } = stack.instance;
  setFault(runDir, { step, moment: "started", action: "hold" });
  const spawning = spawn(faultyTenant).catch(() => undefined);
  await faultReached(runDir);
  await killAndReplace(stack, victim, () => clearFault(runDir));
  // A spawn that goes on is cancelled, and one that its caller repeated meanwhile goes as well.
  await evict(faultyTenant).catch(() => undefined);
  await spawning;
  await evict(faultyTenant).catch(() => undefined);
  await assertNothingLeft(inventory);
}

/** Has a spawn fail at a step, which has begun or has had its effect. */
export async function failSpawn(
  runDir: string,
  step: SpawnStep,
  moment: Fault["moment"],
  inventory: readonly string[],
): Promise<void> {
  setFault(runDir, { step, moment, action: "fail" });
  await assert.rejects(spawn(faultyTenant));
  // It failed there, and not somewhere before.
  await faultReached(runDir, 1000);
  clearFault(runDir);
  await assertNothingLeft(inventory);
}
