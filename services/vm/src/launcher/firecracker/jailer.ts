import { chmodSync, constants, copyFileSync, lstatSync, mkdirSync, readFileSync } from "node:fs";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import type { Artifacts } from "../artifacts/artifacts.ts";
import { apiSocketExists, apiSocketName } from "../channels.ts";
import type { LauncherConfig, VmPaths } from "../config.ts";
import { removeTree, requireRootOnly } from "../files.ts";
import { startJailScript } from "../jail-script.ts";
import type { Jailer, StartPlan } from "../jailer.ts";
import { run } from "../processes.ts";
import { imageFiles, LauncherError } from "../protocol.ts";

const mib = 1024 * 1024;
const listensWithinMs = 5_000;
/** The jailer names its directories after the program that it starts. */
const execName = "firecracker";

/** All the mounts a VMM sees: its root, which is its own, and the VM's files. */
const mounts = [
  "/ rw,nosuid",
  "/identity.img ro,nosuid,nodev,noexec",
  "/initrd.cpio ro,nosuid,nodev,noexec",
  "/overlay.ext4 rw,nosuid,nodev,noexec",
  "/rootfs.erofs ro,nosuid,nodev,noexec",
  "/saved rw,nosuid,nodev,noexec",
  "/vmlinux ro,nosuid,nodev,noexec",
];
/** The jailer opens /dev/null outside: without the mount that it is on, its name is /null. The memory that a guest was loaded from has no name any more (SNP-04). */
const descriptors =
  /^((\/dev)?\/null|\/dev\/(kvm|urandom|net\/tun)|\/(initrd\.cpio|identity\.img|overlay\.ext4|rootfs\.erofs|vmlinux)|\/(log|metrics|serial)\.fifo|\/saved\/(memory|state) \(deleted\)|\/memfd:\S+ \(deleted\)|socket:\[\d+\]|anon_inode:\S+)$/;

export interface FirecrackerOptions {
  /** Directory of `firecracker` and `jailer`, root's alone. The jailer copies the one into each jail. */
  readonly programsDir: string;
  /** Why it is Firecracker, for people. */
  readonly reason: string;
  /** Called before each start with every file that is about to run: the VM's copies of the image by their names, and both programs. */
  readonly verify: Artifacts["verifyFiles"];
  readonly cgroupVersion: 1 | 2;
  readonly script?: string;
}

/** Firecracker in the jail of its own jailer. */
export async function openFirecrackerJailer(config: LauncherConfig, options: FirecrackerOptions): Promise<Jailer> {
  const { script = `${import.meta.dirname}/jail.sh`, cgroupVersion, programsDir, reason } = options;
  const programs = { firecracker: `${programsDir}/${execName}`, jailer: `${programsDir}/jailer` };
  for (const program of Object.values(programs)) requireRootOnly(program);
  const version = /v?(\d+\.\d+\.\d+\S*)/.exec(await run([programs.firecracker, "--version"], 5_000))?.[1] ?? "unknown";
  const bounding = /^CapBnd:\s*(\S+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "";
  const rootOf = (paths: VmPaths, vmId: string) => `${paths.jail}/${execName}/${vmId}/root`;
  return {
    description: {
      name: "firecracker",
      version,
      accelerator: "kvm",
      productionBoundary: cgroupVersion === 2,
      reason,
    },
    offersTemplates: false,
    overheadMib: 0,
    channels: {
      api: { name: apiSocketName, kind: "socket" },
      log: { name: "log.fifo", kind: "fifo" },
      metrics: { name: "metrics.fifo", kind: "fifo" },
      serial: { name: "serial.fifo", kind: "fifo" },
      state: { name: "state", kind: "written" },
      memory: { name: "memory", kind: "written" },
      incoming: { name: "state", kind: "loaded" },
      incomingMemory: { name: "memory", kind: "loaded" },
    },
    hasKernelTimer: true,
    channelsIn: rootOf,
    prepare(paths, image) {
      createJail(paths);
      copyImage(`${config.imagesDir}/${image}`, paths.image);
    },
    renew(paths) {
      removeTree(paths.jail);
      createJail(paths);
    },
    async check(paths, image) {
      // The jailer would use a directory that exists, and follow a link in its place.
      const there = lstatSync(`${paths.jail}/${execName}`, { throwIfNoEntry: false });
      if (there !== undefined) throw new LauncherError("HOST_UNSAFE", `${paths.jail}/${execName} exists`);
      for (const path of [...Object.values(programs), paths.jail, paths.image]) requireRootOnly(path);
      const copies = Object.fromEntries(imageFiles.map((name) => [name, `${paths.image}/${name}`]));
      await options.verify(image, { ...copies, ...programs });
    },
    async build(plan, _source, requireMember) {
      const { paths, uid } = plan;
      const root = rootOf(paths, plan.vmId);
      const places = [paths.jail, root, paths.image, paths.overlay, String(uid), plan.joinFiles.join(":")];
      const command = jailerCommand(programsDir, config.cgroupParent, cgroupVersion, plan);
      const running = await startJailScript(script, [...places, ...command], requireMember);
      try {
        await running.expect("built");
        await running.ended();
        const jailBuiltMs = performance.now();
        const listens = async () => apiSocketExists(root) || undefined;
        await waitFor("the VMM's API socket", listens, { timeoutMs: listensWithinMs, intervalMs: 2 });
        return { jailBuiltMs, answeredMs: performance.now(), run: async () => {}, release: () => running.release() };
      } catch (error) {
        running.release();
        throw running.failure(error);
      }
    },
    describeJail: (plan, booted) => ({
      root: rootOf(plan.paths, plan.vmId),
      ownNamespaces: ["mnt", "pid", "net"],
      // The jailer leaves the bounding set as it finds it; a process without other sets cannot use it.
      boundingCapabilities: bounding,
      noNewPrivileges: booted, // comes with each thread's filter
      filteredThreads: booted ? "every" : "some",
      mounts,
      descriptors,
      limits: { "open files": "1024", "core file size": "0", "file size": String(fileSizeBytes(plan)) },
    }),
  };
}

/** The jailer's complete command line. A value with "=" in it (io.max) is one that the jailer refuses; the cgroup has it already. */
export function jailerCommand(programsDir: string, parent: string, cgroupVersion: 1 | 2, plan: StartPlan): string[] {
  const values = plan.cgroupValues.filter(({ value }) => !value.includes("="));
  return [
    `${programsDir}/jailer`,
    ...["--id", plan.vmId, "--exec-file", `${programsDir}/${execName}`],
    ...["--uid", String(plan.uid), "--gid", String(plan.uid), "--chroot-base-dir", plan.paths.jail],
    ...["--cgroup-version", String(cgroupVersion), "--parent-cgroup", parent],
    ...values.flatMap(({ file, value }) => ["--cgroup", `${file}=${value}`]),
    ...["--netns", plan.network],
    ...["--resource-limit", "no-file=1024", "--resource-limit", `fsize=${fileSizeBytes(plan)}`],
    ...["--daemonize", "--new-pid-ns", "--", "--api-sock", "api.socket"],
  ];
}

/** A snapshot's memory file is as long as the memory: a smaller limit would kill the VMM while it writes one. */
function fileSizeBytes(plan: StartPlan): number {
  return (Math.max(plan.overlayMib, plan.memoryMib) + 1) * mib;
}

/** The jailer's base directory for this VM alone, and the one for a saved state. Throws when it exists. */
function createJail(paths: VmPaths): void {
  for (const directory of [paths.jail, paths.saved]) {
    mkdirSync(directory, { mode: 0o711 });
    chmodSync(directory, 0o711);
  }
}

/** The VM's own inodes, shared with no other VM: what one tenant reads cannot be told from the page cache by another. */
function copyImage(from: string, to: string): void {
  mkdirSync(to, { mode: 0o700 });
  for (const name of imageFiles) {
    copyFileSync(`${from}/${name}`, `${to}/${name}`, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    chmodSync(`${to}/${name}`, 0o444);
  }
}
