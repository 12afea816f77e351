import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { cgroupSettings, memoryLimitBytes, VmCgroups } from "./cgroup.ts";

const limits = { vcpuCount: 2, memoryMib: 256, overheadMib: 160 };
const memory = String((384 + 32 + 128) * 1024 * 1024);
const table = (version: 1 | 2, device?: string) =>
  Object.fromEntries(cgroupSettings(version, limits, device).map(({ file, value }) => [file, value]));

test("memory is one and a half times the guest's and what the VMM needs beside it", () => {
  assert.equal(String(memoryLimitBytes(limits)), memory);
  assert.equal(memoryLimitBytes({ vcpuCount: 1, memoryMib: 65, overheadMib: 160 }), 258 * 1024 * 1024);
  assert.equal(memoryLimitBytes({ vcpuCount: 1, memoryMib: 256, overheadMib: 0 }), 384 * 1024 * 1024);
});

test("the limits of version 2", () => {
  assert.deepEqual(table(2, "254:0"), {
    "memory.max": memory,
    "memory.swap.max": "0",
    "memory.oom.group": "1",
    "cpu.max": "200000 100000",
    "pids.max": "128",
    "io.max": "254:0 rbps=104857600 wbps=104857600 riops=10000 wiops=10000",
  });
});

test("the limits of version 1", () => {
  assert.deepEqual(table(1), {
    "memory.limit_in_bytes": memory,
    "memory.memsw.limit_in_bytes": memory,
    "cpu.cfs_period_us": "100000",
    "cpu.cfs_quota_us": "200000",
    "pids.max": "128",
  });
  assert.equal(table(1, "254:0")["blkio.throttle.write_bps_device"], "254:0 104857600");
});

/** A directory that looks like a cgroup file system: files take what is written to them. */
function fixture(files: Record<string, string>): { root: string; remove: () => void } {
  const root = mkdtempSync(`${tmpdir()}/lobsterd-cgroup-`);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(`${root}/${name}`), { recursive: true });
    writeFileSync(`${root}/${name}`, content);
  }
  return { root, remove: () => rmSync(root, { recursive: true }) };
}

const version2 = (controllers: string) => ({
  "cgroup.controllers": `${controllers}\n`,
  "cgroup.procs": "",
  "cgroup.subtree_control": "",
  "lobsterd-test/cgroup.controllers": `${controllers}\n`,
});

test("version 2: controllers are delegated, limits written and read back, a kill goes by cgroup.kill", async () => {
  const { root, remove } = fixture(version2("cpuset cpu io memory pids"));
  try {
    const cgroups = new VmCgroups(root, "lobsterd-test", root);
    assert.equal(cgroups.version, 2);
    assert.equal(readFileSync(`${root}/lobsterd-test/cgroup.subtree_control`, "utf8"), "+cpu +memory +pids +io");
    cgroups.create("vm", limits);
    const directory = `${root}/lobsterd-test/vm`;
    assert.equal(readFileSync(`${directory}/memory.max`, "utf8"), memory);
    writeFileSync(`${directory}/memory.max`, "max");
    assert.match(cgroups.faults("vm", limits).join(), /memory\.max is "max"/);
    assert.deepEqual(cgroups.joinFiles("vm"), [`${directory}/cgroup.procs`]);
    writeFileSync(`${directory}/cgroup.procs`, "4242");
    assert.deepEqual([...cgroups.members("vm")], [["", [4242]]]);
    const killed = cgroups.kill("vm");
    await waitFor("the kill", async () => existsSync(`${directory}/cgroup.kill`) || undefined, {
      timeoutMs: 2_000,
      intervalMs: 1,
    });
    assert.equal(readFileSync(`${directory}/cgroup.kill`, "utf8"), "1");
    writeFileSync(`${directory}/cgroup.procs`, "");
    await killed;
  } finally {
    remove();
  }
});

test("a host that does not offer a needed controller is refused", () => {
  for (const files of [
    version2("cpu io pids"),
    { "memory/cgroup.procs": "", "cpu/cgroup.procs": "", "pids/cgroup.procs": "" },
  ]) {
    const { root, remove } = fixture(files);
    try {
      assert.throws(() => new VmCgroups(root, "lobsterd-test", root), /not offered/);
    } finally {
      remove();
    }
  }
});

test("a thread is in the VM's cgroup when it is there in every hierarchy, by its whole path", () => {
  const unified = fixture(version2("cpu io memory pids"));
  const separate = fixture({
    "memory/cgroup.procs": "",
    "cpu/cgroup.procs": "",
    "pids/cgroup.procs": "",
    "freezer/cgroup.procs": "",
  });
  try {
    const two = new VmCgroups(unified.root, "lobsterd-test", unified.root);
    assert.ok(two.holds("vm", "0::/lobsterd-test/vm\n"));
    for (const other of ["0::/\n", "0::/lobsterd-test/vm2\n", "0::/lobsterd-test\n", "0::/x/lobsterd-test/vm\n", ""])
      assert.ok(!two.holds("vm", other), other);
    const one = new VmCgroups(separate.root, "lobsterd-test", separate.root);
    const everywhere = ["6:freezer", "5:memory", "4:cpu,cpuacct", "3:pids"].map(
      (line) => `${line}:/lobsterd-test/vm\n`,
    );
    assert.ok(one.holds("vm", `${everywhere.join("")}2:devices:/\n0::/\n`));
    for (const left of everywhere.keys()) {
      const lines = everywhere.map((line, index) => (index === left ? line.replace("/lobsterd-test/vm", "/") : line));
      assert.ok(!one.holds("vm", lines.join("")), lines[left]);
    }
  } finally {
    unified.remove();
    separate.remove();
  }
});
