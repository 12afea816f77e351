import { lstatSync, statfsSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { type CgroupLimits, memoryLimitBytes } from "./cgroup.ts";
import { type LauncherConfig, vmPaths } from "./config.ts";
import type { Result } from "./protocol.ts";
import { vmIdsIn } from "./records.ts";

const mib = 1024 * 1024;

/**
 * What this host has for microVMs, as `describe` tells it. `overheadMib` is what the VMM needs beside 1.5 x a guest's memory, `keptBytes` what of
 * the disk no overlay may have.
 */
export function hostCapacity(
  config: LauncherConfig,
  overheadMib: number,
  keptBytes: number,
): Pick<Result<"describe">, "cores" | "memoryMib" | "memoryLimit" | "overlayCapacityMib" | "slotCount"> {
  return {
    cores: availableParallelism(),
    memoryMib: Math.floor(totalmem() / mib),
    memoryLimit: memoryLimitTerms(overheadMib),
    overlayCapacityMib: overlayCapacityMib(config, keptBytes),
    slotCount: config.slotCount,
  };
}

/** The two terms of the cgroup's memory limit, out of its one formula: MiB for each MiB of the guest's, and MiB beside them. */
export function memoryLimitTerms(overheadMib: number): Result<"describe">["memoryLimit"] {
  const limitMib = (memoryMib: number) =>
    memoryLimitBytes({ vcpuCount: 1, memoryMib, overheadMib } satisfies CgroupLimits) / mib;
  return { perGuestMib: (limitMib(1024) - limitMib(0)) / 1024, besideMib: limitMib(0) };
}

/**
 * Room for overlays, full or not: what is free where they are, and what they have taken of it. A guest that writes moves bytes from
 * the one to the other, so the sum stays, and sizes promised to tenants can be compared with it at any time.
 */
function overlayCapacityMib(config: LauncherConfig, keptBytes: number): number {
  const directory = `${config.stateDir}/vms`;
  const { bavail, bsize } = statfsSync(directory);
  let bytes = bavail * bsize - keptBytes;
  for (const vmId of vmIdsIn(directory)) {
    const overlay = lstatSync(vmPaths(config, vmId).overlay, { throwIfNoEntry: false });
    bytes += (overlay?.blocks ?? 0) * 512;
  }
  return Math.max(0, Math.floor(bytes / mib));
}
