import { existsSync, rmSync, statSync } from "node:fs";
import type { CgroupLimits } from "./cgroup.ts";
import { vmPaths } from "./config.ts";
import { fillIdentityDrive, waitingDrive, writeIdentityDrive } from "./files.ts";
import {
  isRunning,
  type LauncherHost,
  networkPath,
  processesIn,
  requireImage,
  requireNetwork,
  requireRecord,
} from "./host.ts";
import type { JailedVmm, StartPlan } from "./jailer.ts";
import { placePit } from "./kvm-pit.ts";
import { type Namespaces, namespacesOf, type ProcessFacts, readProcess } from "./processes.ts";
import { type Arguments, LauncherError, type Result } from "./protocol.ts";
import { jailFaults } from "./read-back.ts";
import { readLimits, replaceRecord, type VmLimits, writeRecord } from "./records.ts";
import { clearRoom } from "./saved-files.ts";
import { saveTemplate } from "./templates/save-template.ts";
import { memoryOf, type StartSource, templateSource } from "./templates/start-source.ts";

/**
 * Starts a prepared or exited VM; it runs when it was read back and differs in nothing. With `incoming` it is left waiting for its state. A
 * failed start leaves the VM as it was. Its generation is durable before guest code can run. What fails with a template is tried once more as a boot.
 */
export async function start(
  host: LauncherHost,
  request: Arguments<"start">,
  { incoming }: { readonly incoming: boolean },
): Promise<Result<"start">> {
  const { config, cgroups, jailer } = host;
  const { vmId, slot, image, generation } = request;
  const began = performance.now();
  const record = requireRecord(host, vmId);
  if (record.slot !== slot || record.image !== image)
    throw new LauncherError("WRONG_STATE", `prepared for slot ${record.slot} and image ${record.image}`);
  if (isRunning(host, vmId)) throw new LauncherError("WRONG_STATE", "it runs already");
  if (generation <= record.generation)
    throw new LauncherError("STALE_GENERATION", `generation ${record.generation} was started`);
  requireNetwork(config, slot);
  requireImage(config, image);
  const paths = vmPaths(config, vmId);
  if (cgroups.members(vmId).size > 0 || !existsSync(paths.jail)) {
    await cgroups.remove(vmId); // of an earlier run that ended
    jailer.renew(paths); // or the host was restarted: jails are on a tmpfs
  }
  await jailer.check(paths, image);
  if (incoming) return await startOnce(host, request, { kind: "incoming" }, began);
  const warm = await templateSource(host, request, record.overlayMib);
  if (warm === undefined) return await startOnce(host, request, { kind: "boot" }, began);
  try {
    return await startOnce(host, request, warm, began);
  } catch (error) {
    const booted = await startOnce(host, request, { kind: "boot" }, performance.now());
    return { ...booted, templateFault: `${warm.kind}: ${(error as Error).message}`.slice(0, 2048) };
  } finally {
    if (warm.kind === "load-template") await warm.file.close();
  }
}

async function startOnce(
  host: LauncherHost,
  request: Arguments<"start">,
  source: StartSource,
  began: number,
): Promise<Result<"start">> {
  const { config, cgroups, jailer, templates } = host;
  const { vmId, slot, vcpuCount, memoryMib, generation } = request;
  const uid = config.uidBase + slot;
  const paths = vmPaths(config, vmId);
  const identity = Buffer.from(request.identityDrive, "base64");
  let vmm: JailedVmm | undefined;
  try {
    rmSync(paths.limits, { force: true });
    writeRecord(paths.limits, { vcpuCount, memoryMib });
    writeIdentityDrive(paths.identity, source.kind === "save-template" ? waitingDrive : identity, uid);
    cgroups.create(vmId, limitsOf(host, request));
    const prepared = performance.now();
    vmm = await jailer.build(planOf(host, vmId, request), memoryOf(source), (pid) => requireMember(host, vmId, pid));
    const built = performance.now();
    readBack(host, vmId, false);
    const verified = performance.now();
    replaceRecord(paths.record, { ...requireRecord(host, vmId), generation });
    await vmm.run();
    const running = performance.now();
    const stagesMs = {
      prepare: prepared - began,
      jail: vmm.jailBuiltMs - prepared,
      vmm: vmm.answeredMs - vmm.jailBuiltMs,
      readBack: verified - built,
      resume: running - verified,
    };
    if (source.kind === "load-template") return { stagesMs, templateMs: built - vmm.answeredMs, origin: "template" };
    if (source.kind !== "save-template")
      return { stagesMs, templateMs: 0, origin: source.kind === "boot" ? "kernel" : "state" };
    const giveIdentity = () => fillIdentityDrive(paths.identity, identity, uid);
    const isSaved = await saveTemplate(host, vmId, { memoryMib, draft: source.draft, giveIdentity });
    await (isSaved ? source.draft.keep() : source.draft.giveUp());
    const templateMs = performance.now() - running;
    if (isSaved) return { stagesMs, templateMs, origin: "kernel" };
    return { stagesMs, templateMs, origin: "kernel", templateFault: "the guest did not come to wait for its identity" };
  } catch (error) {
    if (source.kind === "load-template") await templates.drop(source.key);
    if (source.kind === "save-template") await source.draft.giveUp();
    await endRun(host, vmId);
    throw error;
  } finally {
    identity.fill(0);
    vmm?.release();
  }
}

/** Kills the VM by its cgroup and takes its run away: jail and identity drive are as `prepare` left them, the disk stays. Safe to repeat. */
async function endRun(host: LauncherHost, vmId: string): Promise<void> {
  const paths = vmPaths(host.config, vmId);
  host.bootTurn.end(vmId);
  await host.cgroups.kill(vmId);
  await host.cgroups.remove(vmId);
  host.namespaces.delete(vmId);
  rmSync(paths.identity, { force: true });
  host.jailer.renew(paths);
}

/** Reads a booted or loaded VM back, every thread of it, and places its timer thread. A VM that fails this is killed. What it was loaded from has no name any more. */
export async function place(host: LauncherHost, vmId: string): Promise<Result<"place">> {
  try {
    requireRecord(host, vmId);
    if (!isRunning(host, vmId)) throw new LauncherError("NOT_FOUND", "it does not run");
    clearRoom(host, vmId);
    const facts = readBack(host, vmId, true);
    const usesKvm = facts.descriptors.some((target) => /^anon_inode:kvm-v(m|cpu)/.test(target));
    if (!usesKvm || !host.jailer.hasKernelTimer) return { kvmPit: "none" };
    const pidInNamespace = facts.pidPerNamespace.at(-1) ?? 0;
    await placePit(host.cgroups, { vmId, pid: facts.pid, pidInNamespace });
    return { kvmPit: "placed" };
  } catch (error) {
    await host.cgroups.kill(vmId);
    throw error;
  } finally {
    host.bootTurn.end(vmId);
  }
}

/** The VM's process as it reads now. Throws JAIL_MISMATCH with everything in which it differs from its jail. */
function readBack(host: LauncherHost, vmId: string, booted: boolean): ProcessFacts {
  const { config, cgroups } = host;
  const { slot } = requireRecord(host, vmId);
  const limits = readLimits(vmPaths(config, vmId).limits);
  if (limits === undefined) throw new LauncherError("JAIL_MISMATCH", "nobody knows the sizes of its start");
  const facts = readVmm(host, vmId);
  const jail = host.jailer.describeJail(planOf(host, vmId, limits), booted);
  const { dev, ino } = statSync(jail.root);
  const faults = jailFaults(facts, jail, {
    uid: config.uidBase + slot,
    root: `${dev}:${ino}`,
    network: String(statSync(networkPath(config, slot)).ino),
    foreign: [namespacesOf("/proc/self"), ...neighbours(host, vmId, facts.namespaces)],
    members: processesIn(host, vmId),
    hierarchies: cgroups.hierarchies(),
    cgroupFaults: cgroups.faults(vmId, limitsOf(host, limits)),
  });
  if (faults.length > 0) throw new LauncherError("JAIL_MISMATCH", faults.join("; ").slice(0, 2048));
  host.namespaces.set(vmId, facts.namespaces);
  return facts;
}

/** The VM's one process. Throws JAIL_MISMATCH when there is none. */
export function readVmm(host: LauncherHost, vmId: string): ProcessFacts {
  const pid = [...processesIn(host, vmId).values()].flat()[0];
  const uid = host.config.uidBase + requireRecord(host, vmId).slot;
  try {
    if (pid !== undefined) return readProcess(pid, uid);
  } catch (error) {
    throw new LauncherError("JAIL_MISMATCH", `process ${pid} cannot be read: ${(error as Error).message}`);
  }
  throw new LauncherError("JAIL_MISMATCH", "no process is in the VM's cgroup");
}

/** Reads the namespaces of VMs that an earlier launcher started. One that cannot be read is nobody's neighbour. */
export function rememberNamespaces(host: LauncherHost): void {
  for (const vmId of host.cgroups.list()) {
    try {
      host.namespaces.set(vmId, readVmm(host, vmId).namespaces);
    } catch (error) {
      if (!(error instanceof LauncherError)) throw error;
    }
  }
}

/** Other running VMs that have a namespace in common; the inode of one that is gone may be used again. */
function neighbours(host: LauncherHost, vmId: string, own: Namespaces): Namespaces[] {
  const shares = (other: Namespaces) => (["mnt", "pid", "net"] as const).some((name) => other[name] === own[name]);
  return [...host.namespaces]
    .filter(([other, namespaces]) => other !== vmId && shares(namespaces) && isRunning(host, other))
    .map(([, namespaces]) => namespaces);
}

function limitsOf({ jailer }: LauncherHost, { vcpuCount, memoryMib }: VmLimits): CgroupLimits {
  return { vcpuCount, memoryMib, overheadMib: jailer.overheadMib };
}

function planOf(host: LauncherHost, vmId: string, { vcpuCount, memoryMib }: VmLimits): StartPlan {
  const { config, cgroups } = host;
  const { slot, image, overlayMib } = requireRecord(host, vmId);
  return {
    ...{ vmId, image, vcpuCount, memoryMib, overlayMib },
    uid: config.uidBase + slot,
    paths: vmPaths(config, vmId),
    network: networkPath(config, slot),
    joinFiles: cgroups.joinFiles(vmId),
    cgroupValues: cgroups.settings(vmId, limitsOf(host, { vcpuCount, memoryMib })),
  };
}

function requireMember({ cgroups }: LauncherHost, vmId: string, pid: number): void {
  const members = cgroups.members(vmId);
  const outside = cgroups.hierarchies().filter((hierarchy) => members.get(hierarchy)?.includes(pid) !== true);
  if (outside.length > 0) throw new Error(`the jail script is outside the VM's cgroup ${outside.join(", ")}`);
}
