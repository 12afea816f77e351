import assert from "node:assert/strict";
import { test } from "node:test";
import { cgroupSettings } from "../cgroup.ts";
import { launcherConfigSchema, vmPaths } from "../config.ts";
import type { StartPlan } from "../jailer.ts";
import { jailerCommand } from "./jailer.ts";

const config = launcherConfigSchema.parse({
  ...{
    instance: "prod",
    runDir: "/run/lobsterd/prod",
    stateDir: "/var/lib/lobsterd/prod",
    imagesDir: "/var/lib/images",
  },
  ...{ uidBase: 900_000_000, slotCount: 8, cgroupParent: "lobsterd-prod", socketPath: "/run/l.sock", socketGroupId: 7 },
});
const vmId = "4a".repeat(16);
const plan: StartPlan = {
  ...{ vmId, image: "base", vcpuCount: 2, memoryMib: 512, overlayMib: 64, uid: 900_000_003 },
  paths: vmPaths(config, vmId),
  network: "/run/lobsterd/prod/netns/slot-3",
  joinFiles: [],
  cgroupValues: cgroupSettings(2, { vcpuCount: 2, memoryMib: 512, overheadMib: 0 }, "8:0"),
};

test("the jailer is called with exactly the arguments of FC-03", () => {
  assert.deepEqual(jailerCommand("/opt/fc", config.cgroupParent, 2, plan), [
    "/opt/fc/jailer",
    ...["--id", vmId, "--exec-file", "/opt/fc/firecracker", "--uid", "900000003", "--gid", "900000003"],
    ...["--chroot-base-dir", `/run/lobsterd/prod/jails/${vmId}`],
    ...["--cgroup-version", "2", "--parent-cgroup", "lobsterd-prod"],
    ...["--cgroup", `memory.max=${768 * 1024 * 1024}`, "--cgroup", "memory.swap.max=0"],
    ...["--cgroup", "memory.oom.group=1", "--cgroup", "cpu.max=200000 100000", "--cgroup", "pids.max=128"],
    ...["--netns", "/run/lobsterd/prod/netns/slot-3"],
    ...["--resource-limit", "no-file=1024", "--resource-limit", `fsize=${513 * 1024 * 1024}`],
    ...["--daemonize", "--new-pid-ns", "--", "--api-sock", "api.socket"],
  ]);
});

test("the longest file may be the disk or a snapshot's memory, whichever is longer", () => {
  const limit = (overlayMib: number) =>
    jailerCommand("/opt/fc", "p", 2, { ...plan, overlayMib }).find((word) => word.startsWith("fsize="));
  assert.deepEqual([limit(64), limit(4096)], [`fsize=${513 * 1024 * 1024}`, `fsize=${4097 * 1024 * 1024}`]);
});
