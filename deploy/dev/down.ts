import { existsSync, readdirSync, rmdirSync } from "node:fs";
import { cgroupsOf, processesInCgroups, removeCgroups } from "./cgroups.ts";
import { run } from "./command.ts";
import { askSupervisor } from "./control.ts";
import { removeEnvironment } from "./environment.ts";
import { type Instance, isJailUid, presentStacks, runRoot, stateRoot } from "./instance.ts";
import { askLauncher, listMicroVms } from "./launcher-client.ts";
import { removeLayout } from "./layout.ts";
import { withLock, withSharedLock } from "./lock.ts";
import { mountsBelow } from "./mounts.ts";
import { processesInNamespaces, removeNamespace } from "./network.ts";
import { commandOf, endProcesses, identifyProcess, isAlive, listPids, type ProcessIdentity, statusOf } from "./proc.ts";
import { launchCommand, processSpecs } from "./processes.ts";
import { recordedProcesses } from "./supervised-process.ts";
import { restoreTunDevice } from "./tun-device.ts";
import { type Progress, requireRoot } from "./up.ts";
import { readAccounts, rememberedUsers, removeUsers } from "./users.ts";

/**
 * Ends the instance and removes every trace of it, whatever state it is in; safe to repeat. Returns what is left over,
 * which is nothing unless a step failed.
 */
export async function down(instance: Instance, progress: Progress): Promise<string[]> {
  requireRoot();
  return withLock(instance.name, async () => {
    const failures: string[] = [];
    // Each step is tried, whatever became of the one before it: half a removal is worse than a late error.
    const step = async (what: string, work: () => Promise<void> | void): Promise<void> => {
      try {
        await work();
      } catch (error) {
        failures.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      }
    };
    await step("microVMs", () => removeMicroVms(instance, progress));
    await step("supervisor", () => stopSupervisor(instance, progress));
    await step("network of slots", () => tearDownNetwork(instance));
    await step("processes", () => endProcesses(processesOf(instance), 5000));
    await step("cgroups", () => removeCgroups(instance));
    await step("mounts and directories", () => removeLayout(instance));
    await step("network namespaces", () => removeNamespace(instance));
    await step("environment file", () => removeEnvironment(instance));
    await step("users", () => withSharedLock(() => removeSharedTraces(progress)));
    const left = leftovers(instance);
    // A failure that left nothing behind was made good by a later step, and still is worth a line.
    for (const failure of failures) progress(`step failed: ${failure}`);
    return left;
  });
}

/** Removes guests through the launcher, which unwinds jail, overlay and cgroup in order. A dead launcher leaves them to the steps after. */
async function removeMicroVms(instance: Instance, progress: Progress): Promise<void> {
  // First of all, so that nothing starts a guest while they are removed.
  if (existsSync(instance.controlSocketPath)) {
    await askSupervisor(instance.controlSocketPath, { verb: "stop", process: "vm" });
  }
  let ids: string[];
  try {
    ids = await listMicroVms(instance);
  } catch {
    // No launcher answers: the guests are found by their cgroups.
    await endProcesses(identitiesOf(processesInCgroups(instance)), 0);
    return;
  }
  for (const vmId of ids) {
    await askLauncher(instance, "remove", { vmId }, 30_000);
    progress(`microVM ${vmId} removed`);
  }
}

async function stopSupervisor(instance: Instance, progress: Progress): Promise<void> {
  if (!existsSync(instance.controlSocketPath)) return;
  const answer = await askSupervisor(instance.controlSocketPath, { verb: "shutdown" });
  if (answer === undefined) return;
  await endProcesses(identitiesOf([answer.pid]), 10_000);
  progress("processes ended");
}

/** Lets `net` remove what it made, as the user and with the rights that made it. */
async function tearDownNetwork(instance: Instance): Promise<void> {
  const net = processSpecs(instance).find(({ name }) => name === "net");
  const main = `${instance.appDir}/services/net/src/main.ts`;
  if (net === undefined || !existsSync(instance.netnsPath) || !existsSync(main)) return;
  const command = [...launchCommand(net, instance, readAccounts()), "--teardown"];
  await run(command, { timeoutMs: 60_000 });
}

/** Every process that belongs to the instance, by whatever sign; never this one. */
export function processesOf(instance: Instance): ProcessIdentity[] {
  const inNamespaces = processesInNamespaces([
    instance.netnsPath,
    instance.outsideNetnsPath,
    ...slotNamespaces(instance),
  ]);
  const bySign = listPids().filter((pid) => {
    if (commandOf(pid).split(" ")[0]?.startsWith(`${instance.appDir}/`) === true) return true;
    if (isSupervisor(instance, pid)) return true;
    const [uid] = statusOf(pid)?.uids ?? [];
    return uid !== undefined && isJailUid(instance, uid);
  });
  const pids = new Set([...inNamespaces, ...bySign, ...processesInCgroups(instance)]);
  // A pid alone may be somebody else's by now.
  for (const recorded of recordedProcesses(instance)) if (isAlive(recorded)) pids.add(recorded.pid);
  pids.delete(process.pid);
  return identitiesOf([...pids]);
}

function isSupervisor(instance: Instance, pid: number): boolean {
  return commandOf(pid).endsWith(`/deploy/dev/supervisor.ts --instance ${instance.name}`);
}

function identitiesOf(pids: readonly number[]): ProcessIdentity[] {
  return pids.flatMap((pid) => identifyProcess(pid) ?? []);
}

function slotNamespaces(instance: Instance): string[] {
  const directory = `${instance.runDir}/netns`;
  return existsSync(directory) ? readdirSync(directory).map((name) => `${directory}/${name}`) : [];
}

/** Users and parent directories serve all instances: they go with the last one. */
async function removeSharedTraces(progress: Progress): Promise<void> {
  if (presentStacks().length > 0) return;
  restoreTunDevice();
  const removed = await removeUsers();
  if (removed.length > 0) progress(`users removed: ${removed.join(", ")}`);
  for (const path of [runRoot, stateRoot]) {
    if (existsSync(path) && readdirSync(path).length === 0) rmdirSync(path);
  }
}

/** What the machine still has of the instance, one line each. */
export function leftovers(instance: Instance): string[] {
  const alone = presentStacks().length === 0;
  return [
    ...processesOf(instance).map(({ pid }) => `process ${pid} ${commandOf(pid)}`),
    ...mountsBelow(instance.runDir).map((path) => `mount ${path}`),
    ...cgroupsOf(instance).map((path) => `cgroup ${path}`),
    ...[instance.runDir, instance.stateDir, instance.netnsPath, instance.outsideNetnsPath, instance.environmentPath]
      .filter((path) => existsSync(path))
      .map((path) => `path ${path}`),
    ...(alone ? rememberedUsers().map((name) => `user or group ${name}`) : []),
  ];
}
