/** HOST-03 against a real interval timer thread: QEMU under KVM makes one, with its CPUs stopped, where /dev/kvm opens. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { after, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { timerThreadsPlaced } from "./controls/guest-timers.ts";
import { openHostFiles } from "./host-files.ts";
import { viewOf } from "./testing/sound-host.ts";

const qemu = "/usr/bin/qemu-system-x86_64";
const argv = ["-M", "pc,accel=kvm", "-cpu", "qemu64,-cx16", "-m", "64", "-display", "none", "-nodefaults", "-S"];
const hierarchy = existsSync("/sys/fs/cgroup/cpu") ? "/sys/fs/cgroup/cpu" : "/sys/fs/cgroup";
const parent = `${hierarchy}/lobsterd-posture`;
const limits = { timeoutMs: 20_000, intervalMs: 50 };
let vmm: ChildProcess | undefined;

after(async () => {
  if (vmm !== undefined && vmm.exitCode === null && vmm.signalCode === null) {
    const ended = new Promise((resolve) => vmm?.once("exit", resolve));
    vmm.kill("SIGKILL");
    await ended;
  }
  if (!existsSync(parent)) return;
  for (const name of readdirSync(parent, { withFileTypes: true })) {
    if (name.isDirectory()) await waitFor("the cgroup is empty", async () => remove(`${parent}/${name.name}`), limits);
  }
  rmdirSync(parent);
});

function remove(directory: string): true | undefined {
  if (readFileSync(`${directory}/cgroup.procs`, "utf8") !== "") return undefined;
  rmdirSync(directory);
  return true;
}

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (!existsSync(qemu)) return "needs qemu-system-x86_64";
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return "needs /dev/kvm";
  }
}

/** The thread of a VMM, by its exact name. */
function timerThreadOf(pid: number): string | undefined {
  return readdirSync("/proc").find((tid) => {
    if (!/^\d+$/.test(tid)) return false;
    try {
      return readFileSync(`/proc/${tid}/comm`, "utf8") === `kvm-pit/${pid}\n`;
    } catch {
      // It ended between the two reads.
      return false;
    }
  });
}

test("a real kvm-pit thread outside its VM's cgroup fails HOST-03, and in it passes", { skip: whyNot() }, async () => {
  vmm = spawn(qemu, argv, { stdio: "ignore" });
  const { pid } = vmm;
  assert.ok(pid !== undefined);
  const thread = await waitFor("the timer's thread is there", async () => timerThreadOf(pid), limits);
  const look = async () => {
    const { measured } = await timerThreadsPlaced.check({ ...viewOf(), files: openHostFiles() });
    return measured.split("; ").filter((part) => part.startsWith(`kvm-pit/${pid} `));
  };
  assert.equal((await look()).length, 1, "it is in no VM's cgroup");
  const cgroup = `${parent}/${randomBytes(16).toString("hex")}`;
  mkdirSync(cgroup, { recursive: true });
  writeFileSync(`${cgroup}/cgroup.procs`, String(pid));
  assert.equal((await look()).length, 1, "its VMM was placed, and it was not");
  writeFileSync(`${cgroup}/cgroup.procs`, thread);
  assert.deepEqual(await look(), []);
});
