import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, rmdirSync } from "node:fs";
import { dirname } from "node:path";
import { test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { VmCgroups } from "./cgroup.ts";
import { kvmMissing } from "./firecracker/stub-subject.ts";
import { placedPits, placePit } from "./kvm-pit.ts";

const qemu = "/usr/bin/qemu-system-x86_64";
const skip =
  process.getuid?.() !== 0 ? "needs root" : (kvmMissing() ?? (existsSync(qemu) ? false : `${qemu} is not installed`));
const machine = ["-M", "pc,accel=kvm", "-cpu", "qemu64,-cx16", "-m", "64", "-display", "none", "-nodefaults", "-S"];
const vmId = "0e".repeat(16);
const soon = { timeoutMs: 20_000, intervalMs: 10 };

/** A real KVM machine with its timer, whose guest never runs; `pids` are its numbers in its pid namespaces, outermost first. */
async function withMachine(before: readonly string[], work: (pids: readonly number[]) => Promise<void>): Promise<void> {
  const [program = "", ...rest] = [...before, qemu, ...machine];
  const child = spawn(program, rest, { stdio: "ignore" });
  const ended = once(child, "exit");
  try {
    await work(await waitFor("the machine", async () => machinePids(child), soon));
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}

function machinePids({ pid, exitCode }: ChildProcess): number[] | undefined {
  if (exitCode !== null) throw new Error(`QEMU ended with ${exitCode}`);
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  for (const candidate of [String(pid), ...children.split(" ").filter(Boolean)]) {
    const status = readFileSync(`/proc/${candidate}/status`, "utf8");
    if (status.startsWith("Name:\tqemu-system")) return /^NSpid:\s*(.+)$/m.exec(status)?.[1]?.split("\t").map(Number);
  }
  return undefined;
}

/** Places the machine's thread in a cgroup of the test's own. */
async function place(pids: readonly number[]): Promise<void> {
  const parent = `lobsterd-pit-test-${process.pid}`;
  const cgroups = new VmCgroups("/sys/fs/cgroup", parent, "/var/lib");
  cgroups.create(vmId, { vcpuCount: 1, memoryMib: 64, overheadMib: 64 });
  const [pid = 0] = pids;
  try {
    await placePit(cgroups, { vmId, pid, pidInNamespace: pids.at(-1) ?? 0 }, { withinMs: 10_000 });
    const [thread, ...others] = placedPits(cgroups, vmId);
    assert.ok(thread !== undefined && others.length === 0);
    assert.equal(readFileSync(`/proc/${thread}/comm`, "utf8"), `kvm-pit/${pids.at(-1)}\n`);
    const places = readFileSync(`/proc/${thread}/cgroup`, "utf8").split("\n");
    for (const hierarchy of cgroups.hierarchies()) {
      const line = places.find((text) => text.split(":")[1]?.split(",").includes(hierarchy));
      assert.ok(line?.endsWith(`:/${parent}/${vmId}`), `${hierarchy}: ${line}`);
    }
  } finally {
    process.kill(pid, "SIGKILL");
    await waitFor("the thread's end", async () => placedPits(cgroups, vmId).length === 0 || undefined, soon);
    await cgroups.remove(vmId);
    for (const directory of new Set(cgroups.joinFiles(vmId).map((file) => dirname(dirname(file)))))
      rmdirSync(directory);
  }
}

test("a real timer thread is found by its name, moved and read back", { skip }, () =>
  withMachine([], async (pids) => {
    assert.equal(pids.length, 1);
    await place(pids);
  }),
);

test("the thread of a VMM in a pid namespace of its own is named by its number in there", { skip }, () =>
  withMachine(["unshare", "--pid", "--fork", "--kill-child"], async (pids) => {
    assert.deepEqual(pids.slice(1), [1]);
    await place(pids);
  }),
);
