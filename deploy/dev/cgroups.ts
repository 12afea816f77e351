import { existsSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import type { Instance } from "./instance.ts";

const cgroupRoot = "/sys/fs/cgroup";

/** Directories of the instance's cgroups in every hierarchy, v1 or v2, innermost first. */
export function cgroupsOf(instance: Instance, root: string = cgroupRoot): string[] {
  const parents = existsSync(`${root}/cgroup.controllers`) ? [root] : directoriesIn(root);
  return parents
    .map((parent) => `${parent}/${instance.cgroup}`)
    .filter((path) => existsSync(path))
    .flatMap((path) => [...below(path), path]);
}

/** Pids of every process in the instance's cgroups, each once. */
export function processesInCgroups(instance: Instance, root: string = cgroupRoot): number[] {
  const pids = cgroupsOf(instance, root).flatMap((path) => {
    const text = existsSync(`${path}/cgroup.procs`) ? readFileSync(`${path}/cgroup.procs`, "utf8") : "";
    return text.split("\n").filter(Boolean).map(Number);
  });
  return [...new Set(pids)];
}

/** Removes the instance's cgroups, which must be empty. */
export function removeCgroups(instance: Instance, root: string = cgroupRoot): void {
  for (const path of cgroupsOf(instance, root)) rmdirSync(path);
}

function below(path: string): string[] {
  return directoriesIn(path).flatMap((child) => [...below(child), child]);
}

function directoriesIn(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `${path}/${entry.name}`);
}
