import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";

const mib = 1024 * 1024;
const emptyWithinMs = 10_000;

export interface CgroupLimits {
  readonly vcpuCount: number;
  readonly memoryMib: number;
  /** What the VMM needs beside 1.5 x the guest's memory. */
  readonly overheadMib: number;
}

/** `directory` is a controller under v1 and empty under v2. */
interface Setting {
  readonly directory: string;
  readonly file: string;
  readonly value: string;
  /** Written only where the kernel has the file; every other setting must be offered. */
  readonly optional?: boolean;
}

/** The one formula of the memory limit: 1.5 x the guest's, plus what QEMU needs beside it under TCG. */
export function memoryLimitBytes(limits: CgroupLimits): number {
  return Math.ceil(limits.memoryMib * 1.5 + limits.overheadMib) * mib;
}

/** What one VM's cgroup is set to, in writing order. `device` is major:minor of the disk below the overlays, if it is a real one. */
export function cgroupSettings(version: 1 | 2, limits: CgroupLimits, device: string | undefined): Setting[] {
  const memory = String(memoryLimitBytes(limits));
  const quota = String(limits.vcpuCount * 100_000);
  // Twice the drives' own throttle: the VMM also reads its program and the kernel image through this limit.
  const bytes = 2 * 52_428_800;
  const operations = 10_000;
  if (version === 2) {
    const io = `${device} rbps=${bytes} wbps=${bytes} riops=${operations} wiops=${operations}`;
    return [
      { directory: "", file: "memory.max", value: memory },
      { directory: "", file: "memory.swap.max", value: "0", optional: true },
      { directory: "", file: "memory.oom.group", value: "1" },
      { directory: "", file: "cpu.max", value: `${quota} 100000` },
      { directory: "", file: "pids.max", value: "128" },
      ...(device === undefined ? [] : [{ directory: "", file: "io.max", value: io, optional: true }]),
    ];
  }
  const blkio = (kind: string, limit: number) => ({
    directory: "blkio",
    file: `blkio.throttle.${kind}_device`,
    value: `${device} ${limit}`,
    optional: true,
  });
  return [
    { directory: "memory", file: "memory.limit_in_bytes", value: memory },
    // Memory and swap together as much as memory alone: no swap.
    { directory: "memory", file: "memory.memsw.limit_in_bytes", value: memory, optional: true },
    { directory: "cpu", file: "cpu.cfs_period_us", value: "100000" },
    { directory: "cpu", file: "cpu.cfs_quota_us", value: quota },
    { directory: "pids", file: "pids.max", value: "128" },
    ...(device === undefined ? [] : [blkio("read_bps", bytes), blkio("write_bps", bytes)]),
    ...(device === undefined ? [] : [blkio("read_iops", operations), blkio("write_iops", operations)]),
  ];
}

/**
 * The cgroups of all VMs under one parent, v1 or v2, whichever `root` is. The constructor creates the parents and throws when a
 * controller that a limit needs is not offered.
 */
export class VmCgroups {
  readonly version: 1 | 2;
  readonly #parents: ReadonlyMap<string, string>;
  readonly #parent: string;
  readonly #device: string | undefined;

  constructor(root: string, parent: string, stateDir: string) {
    this.#parent = parent;
    this.version = existsSync(`${root}/cgroup.controllers`) ? 2 : 1;
    // The v1 freezer is what makes a kill exact, see kill(). It is joined first: what is in another hierarchy is in it.
    const required = this.version === 2 ? [""] : ["freezer", "cpu", "memory", "pids"];
    const missing = required.filter((controller) => !existsSync(join(root, controller, "cgroup.procs")));
    if (missing.length > 0) throw new Error(`cgroup controllers not offered: ${missing.join(", ")}`);
    const optional = this.version === 1 && existsSync(`${root}/blkio/cgroup.procs`) ? ["blkio"] : [];
    this.#parents = new Map([...required, ...optional].map((name) => [name, join(root, name, parent)]));
    for (const directory of this.#parents.values()) mkdirSync(directory, { recursive: true, mode: 0o755 });
    if (this.version === 2) this.#delegate(root, join(root, parent));
    this.#device = blockDevice(stateDir);
  }

  /** Creates the VM's cgroup with its limits. Throws when it exists, or when a value does not read back as written. */
  create(vmId: string, limits: CgroupLimits): void {
    for (const parent of this.#parents.values()) mkdirSync(`${parent}/${vmId}`, { mode: 0o755 });
    for (const { path, value } of this.#offered(vmId, limits)) writeFileSync(path, value);
    const faults = this.faults(vmId, limits);
    if (faults.length > 0) throw new Error(`cgroup limits were not taken: ${faults.join("; ")}`);
  }

  /** Every limit that reads differently from what `create` wrote. */
  faults(vmId: string, limits: CgroupLimits): string[] {
    return this.#offered(vmId, limits).flatMap(({ path, value }) => {
      const actual = readFileSync(path, "utf8").trim();
      return actual === value ? [] : [`${path} is "${actual}", not "${value}"`];
    });
  }

  /** The files into which a single-threaded process writes 0 to move itself into the VM's cgroup. */
  joinFiles(vmId: string): string[] {
    const file = this.version === 1 ? "tasks" : "cgroup.procs";
    return [...this.#parents.values()].map((parent) => `${parent}/${vmId}/${file}`);
  }

  /** Processes in the VM's cgroup, per hierarchy; a hierarchy without the cgroup is absent. */
  members(vmId: string): Map<string, number[]> {
    const found = new Map<string, number[]>();
    for (const [controller, parent] of this.#parents) {
      const file = `${parent}/${vmId}/cgroup.procs`;
      if (existsSync(file))
        found.set(controller, readFileSync(file, "utf8").trim().split("\n").filter(Boolean).map(Number));
    }
    return found;
  }

  hierarchies(): string[] {
    return [...this.#parents.keys()];
  }

  /** The VM's limit and usage files as they read now. */
  values(vmId: string): Record<string, string> {
    const read = ({ path }: { path: string }) => [basename(path), readFileSync(path, "utf8").trim().slice(0, 1024)];
    return Object.fromEntries(this.#offered(vmId, { vcpuCount: 1, memoryMib: 1, overheadMib: 1 }).map(read));
  }

  /** What the files of the VM's cgroup are set to, by name. */
  settings(vmId: string, limits: CgroupLimits): { file: string; value: string }[] {
    return this.#offered(vmId, limits).map(({ path, value }) => ({ file: basename(path), value }));
  }

  /** Moves a kernel thread into the VM's cgroup. Throws what the kernel answers, EINVAL for one that may not be moved. */
  place(vmId: string, threadId: number): void {
    for (const file of this.joinFiles(vmId)) writeFileSync(file, String(threadId));
  }

  /** Whether `/proc/<id>/cgroup` says that the thread is in the VM's cgroup, in every hierarchy. */
  holds(vmId: string, text: string): boolean {
    const places = new Map(
      [...text.matchAll(/^\d+:([^:]*):(.*)$/gm)].flatMap(([, controllers = "", path = ""]) =>
        controllers.split(",").map((controller) => [controller, path] as const),
      ),
    );
    return this.hierarchies().every((hierarchy) => places.get(hierarchy) === `/${this.#parent}/${vmId}`);
  }

  list(): string[] {
    return [...new Set([...this.#parents.values()].flatMap((parent) => childDirectories(parent)))];
  }

  /**
   * Kills every process in the VM's cgroup and waits until there is none; returns at once when there is no cgroup. No pid is ever stored:
   * v2 kills by `cgroup.kill`; under v1 the members are read while the freezer holds them, so none can end and have its number
   * reused before it is signalled.
   */
  async kill(vmId: string): Promise<void> {
    await waitFor(
      `end of the processes of ${vmId}`,
      async () => {
        const members = this.members(vmId);
        if ([...members.values()].every((pids) => pids.length === 0)) return true;
        if (this.version === 2) writeFileSync(join(this.#parents.get("") ?? "", vmId, "cgroup.kill"), "1");
        else await this.#killFrozen(join(this.#parents.get("freezer") ?? "", vmId), () => this.members(vmId));
        return undefined;
      },
      { timeoutMs: emptyWithinMs, intervalMs: 4 },
    );
  }

  /** Removes the VM's cgroup, which must be empty. Safe to repeat. */
  async remove(vmId: string): Promise<void> {
    for (const parent of this.#parents.values()) {
      await waitFor(`removal of ${parent}/${vmId}`, async () => removeDirectory(`${parent}/${vmId}`), {
        timeoutMs: emptyWithinMs,
        intervalMs: 4,
      });
    }
  }

  async #killFrozen(freezer: string, members: () => Map<string, number[]>): Promise<void> {
    writeFileSync(`${freezer}/freezer.state`, "FROZEN");
    try {
      await waitFor(
        `freezing of ${freezer}`,
        async () => readFileSync(`${freezer}/freezer.state`, "utf8").trim() === "FROZEN" || undefined,
        { timeoutMs: 2_000, intervalMs: 1 },
      );
      for (const pid of new Set([...members().values()].flat())) process.kill(pid, "SIGKILL");
    } finally {
      writeFileSync(`${freezer}/freezer.state`, "THAWED");
    }
  }

  #offered(vmId: string, limits: CgroupLimits): { path: string; value: string }[] {
    return cgroupSettings(this.version, limits, this.#device).flatMap(({ directory, file, value, optional }) => {
      const path = join(this.#parents.get(directory) ?? "/nonexistent", vmId, file);
      return optional === true && !existsSync(path) ? [] : [{ path, value }];
    });
  }

  #delegate(root: string, parent: string): void {
    for (const directory of [root, parent]) {
      const offered = readFileSync(`${directory}/cgroup.controllers`, "utf8").trim().split(" ");
      const missing = ["cpu", "memory", "pids"].filter((controller) => !offered.includes(controller));
      if (missing.length > 0) throw new Error(`cgroup controllers not offered in ${directory}: ${missing.join(", ")}`);
      const wanted = ["cpu", "memory", "pids", "io"].filter((controller) => offered.includes(controller));
      writeFileSync(`${directory}/cgroup.subtree_control`, wanted.map((controller) => `+${controller}`).join(" "));
    }
  }
}

function childDirectories(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
}

/** True when it is gone; undefined while the kernel still counts an ending process in it. */
function removeDirectory(directory: string): true | undefined {
  try {
    rmdirSync(directory);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return true;
    if (code === "EBUSY") return undefined;
    throw error;
  }
}

/** major:minor of the whole disk below `path`, or undefined where the file system is on none (tmpfs, btrfs, overlay). */
function blockDevice(path: string): string | undefined {
  const device = statSync(path).dev;
  const major = (device >> 8) & 0xfff;
  const sys = `/sys/dev/block/${major}:${(device & 0xff) | ((device >> 12) & 0xfff00)}`;
  if (major === 0 || !existsSync(sys)) return undefined;
  // Throttles are set on a disk; the kernel refuses a partition.
  const disk = existsSync(`${sys}/partition`) ? dirname(realpathSync(sys)) : sys;
  return readFileSync(`${disk}/dev`, "utf8").trim();
}
