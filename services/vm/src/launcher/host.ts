import { lstatSync, statfsSync } from "node:fs";
import type { Artifacts } from "./artifacts/artifacts.ts";
import type { BootTurn } from "./boot-turn.ts";
import type { VmCgroups } from "./cgroup.ts";
import type { openChannels } from "./channels.ts";
import { type LauncherConfig, vmPaths } from "./config.ts";
import { requireRootOnly } from "./files.ts";
import type { Jailer } from "./jailer.ts";
import { isKernelThread, type Namespaces } from "./processes.ts";
import { imageFiles, LauncherError } from "./protocol.ts";
import { readLimits, readRecord, type VmRecord } from "./records.ts";
import type { TemplateStore } from "./templates/template-store.ts";

const nsfsMagic = 0x6e736673;

/** What the verbs work with, made once at start-up. Nothing of it has to survive the launcher. */
export interface LauncherHost {
  readonly config: LauncherConfig;
  readonly cgroups: VmCgroups;
  readonly artifacts: Artifacts;
  readonly jailer: Jailer;
  readonly openChannel: ReturnType<typeof openChannels>;
  readonly bootTurn: BootTurn;
  readonly templates: TemplateStore;
  /** Namespaces of the VMs that were read back so far. */
  readonly namespaces: Map<string, Namespaces>;
}

/** Ids of the VM's own processes, by hierarchy. A VM is its cgroup: no pid is ever stored. */
export function processesIn({ cgroups }: LauncherHost, vmId: string): Map<string, number[]> {
  const own = (pids: number[]) => pids.filter((pid) => !isKernelThread("/proc", pid));
  return new Map([...cgroups.members(vmId)].map(([hierarchy, pids]) => [hierarchy, own(pids)]));
}

export function isRunning({ cgroups }: LauncherHost, vmId: string): boolean {
  return [...cgroups.members(vmId).values()].some((pids) => pids.length > 0);
}

export function requireRecord({ config }: LauncherHost, vmId: string): VmRecord {
  const record = readRecord(vmPaths(config, vmId).record);
  if (record === undefined) throw new LauncherError("NOT_FOUND", `no VM ${vmId}`);
  return record;
}

/** Memory of the guest of the VM's last start. */
export function memoryBytesOf({ config }: LauncherHost, vmId: string): number {
  return (readLimits(vmPaths(config, vmId).limits)?.memoryMib ?? 0) * 1024 * 1024;
}

export function requireImage(config: LauncherConfig, image: string): void {
  for (const name of imageFiles) {
    const file = `${config.imagesDir}/${image}/${name}`;
    if (!lstatSync(file, { throwIfNoEntry: false })?.isFile())
      throw new LauncherError("IMAGE_MISSING", `no file ${file}`);
    requireRootOnly(file);
  }
}

/** The path of the slot's namespace, which is one: `nsenter` would also take another kind, or the launcher's own. */
export function requireNetwork(config: LauncherConfig, slot: number): string {
  const path = networkPath(config, slot);
  const exists = lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
  if (!exists || statfsSync(path).type !== nsfsMagic)
    throw new LauncherError("NETWORK_MISSING", `no namespace at ${path}`);
  return path;
}

export function networkPath(config: LauncherConfig, slot: number): string {
  return `${config.runDir}/netns/slot-${slot}`;
}
