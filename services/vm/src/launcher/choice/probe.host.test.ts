import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { after, before, suite, test } from "node:test";
import { openArtifacts } from "../artifacts/artifacts.ts";
import { VmCgroups } from "../cgroup.ts";
import { tscKhzFromCpuinfo } from "../qemu/command.ts";
import { buildVmmTree } from "../qemu/vmm-tree.ts";
import { type LauncherTestHost, launcherTestHost } from "../testing.ts";
import type { Execution } from "./accelerator.ts";
import { chooseHostVmm } from "./host-choice.ts";
import { type ProbeGround, runProbe } from "./probe.ts";
import { qemuProbeCommand } from "./probe-command.ts";
import { aliveLine } from "./probe-guest.ts";

const skip = process.getuid?.() === 0 ? false : "needs root";
const builtImage = `${import.meta.dirname}/../../../../../.cache/images/base`;
const withoutImage = existsSync(`${builtImage}/manifest.json`) ? false : "needs `make images`";
const withoutKvm = existsSync("/dev/kvm") ? false : "no /dev/kvm";

suite("the probe of a VMM", { skip }, () => {
  let host: LauncherTestHost;
  let ground: ProbeGround;
  let tree: string;
  let halting: string;
  let emulation: Execution;
  before(async () => {
    host = launcherTestHost();
    host.installHaltingImage("halting");
    mkdirSync(`${host.config.runDir}/jails`, { mode: 0o711 });
    if (withoutImage === false) host.installImage("base", builtImage);
    const artifacts = openArtifacts(host.config);
    tree = await buildVmmTree(host.config, artifacts.digests);
    halting = await artifacts.image("halting");
    const { cgroupRoot, cgroupParent, stateDir, runDir, uidBase, slotCount } = host.config;
    ground = { runDir, cgroups: new VmCgroups(cgroupRoot, cgroupParent, stateDir), uid: uidBase + slotCount };
    const tscKhz = tscKhzFromCpuinfo(readFileSync("/proc/cpuinfo", "utf8"));
    emulation = { accelerator: "tcg", translationCacheMib: 32, tscKhz };
  });
  after(() => host?.close());

  const leavesNothing = () => {
    assert.deepEqual(ground.cgroups.list(), []);
    assert.deepEqual(readdirSync(`${ground.runDir}/jails`), []);
  };
  const probe = (command: readonly string[], image = halting, limitMs = 20_000) =>
    runProbe(ground, { tree, image, vmmDir: tree, command, limitMs });
  const shell = (script: string) =>
    runProbe(ground, {
      tree: "/usr",
      image: halting,
      vmmDir: tree,
      command: ["/usr/bin/sh", "-c", script],
      limitMs: 20_000,
    });

  test("a real kernel shows that its user space runs", { skip: withoutImage }, async () => {
    const image = await openArtifacts(host.config).image("base");
    const verdict = await probe(qemuProbeCommand(emulation), image, 60_000);
    assert.ok(verdict.alive, verdict.detail);
    leavesNothing();
  });

  test("a guest that gives no sign is dead when the time is up, and nothing of it is left", async () => {
    const verdict = await probe(qemuProbeCommand(emulation), halting, 500);
    assert.deepEqual(verdict, { alive: false, detail: "no sign of life within 500 ms" });
    leavesNothing();
  });

  test("a VMM that ends is quoted, and a status of its own is no sign", async () => {
    const refused = await probe([...qemuProbeCommand(emulation), "-no-such-option"]);
    assert.ok(!refused.alive && /ended with status 1 .*no-such-option/.test(refused.detail), refused.detail);
    assert.equal((await shell("exit 0")).alive, false);
    leavesNothing();
  });

  test("the line on the console is a sign", async () => {
    assert.ok((await shell(`echo booting; echo ${aliveLine}; read -r never`)).alive);
    leavesNothing();
  });

  test("a jail that cannot be built says nothing about guests", async () => {
    const run = { tree: "/nonexistent", image: halting, vmmDir: tree, command: ["/usr/bin/true"] };
    await assert.rejects(runProbe(ground, run), { name: "ProbeFailedError" });
    leavesNothing();
  });

  test("a VMM that forks, ignores signals and prints without end is ended with all it started", async () => {
    const verdict = await runProbe(ground, {
      ...{ tree: "/usr", image: halting, vmmDir: tree, limitMs: 500 },
      command: ["/usr/bin/sh", "-c", "trap '' TERM INT HUP; yes x & yes y >&2 & wait"],
    });
    assert.ok(!verdict.alive && verdict.detail.length <= 300);
    leavesNothing();
  });

  test("the VMM has no privilege, no network, nothing of the host to write, and not its files", async () => {
    const checks = [
      "while read -r key value; do case $key in CapEff:|CapBnd:) [ $value = 0000000000000000 ];; esac; done </dev/null",
      `[ "$(/usr/bin/id -u)" = ${ground.uid} ]`,
      "! /usr/bin/touch /usr/x /image/x /files/x /x 2>/dev/null",
      "[ ! -e /etc ] && [ ! -e /sys ]",
      '[ "$(echo /dev/*)" = "/dev/kvm /dev/null /dev/urandom" ]',
    ];
    const verdict = await shell(`set -e; ${checks.join("; ")}; echo ${aliveLine}`);
    assert.ok(verdict.alive, verdict.detail);
  });

  test("`auto` takes KVM only where a guest runs under it, and says what was seen", {
    skip: withoutImage || withoutKvm,
  }, async () => {
    const config = { ...host.config, vmm: { ...host.config.vmm, kind: "auto", accelerator: "auto" } } as const;
    const artifacts = openArtifacts(config);
    const parts = { config, cgroups: ground.cgroups, artifacts, vmmTree: async () => tree };
    const choice = await chooseHostVmm(parts);
    const remembered = JSON.parse(readFileSync(`${config.stateDir}/vmm-probes/qemu.json`, "utf8"));
    assert.equal(choice.accelerator, remembered.alive ? "kvm" : "tcg");
    assert.ok(choice.reason.includes(remembered.detail), choice.reason);
    assert.deepEqual(await chooseHostVmm(parts), choice);
    leavesNothing();
  });

  const stubs: readonly (readonly [string, string, string, RegExp])[] = [
    [
      "whose guest answers",
      `echo "[ 0.1] booting"; echo ${aliveLine}; read -r never`,
      "firecracker",
      /Firecracker under KVM/,
    ],
    [
      "whose guest does not",
      "echo Guest-boot-time; exit 0",
      "qemu",
      /not Firecracker: no guest runs under it: .*status 0/,
    ],
  ];
  for (const [name, script, chosen, reason] of stubs) {
    test(`a program in Firecracker's place ${name}: ${chosen}`, { skip: withoutKvm }, async () => {
      const vmmDir = `${host.config.stateDir}/stub-${chosen}`;
      mkdirSync(vmmDir, { mode: 0o755 });
      const files = "[ -s /files/initrd.cpio ] && [ -s /image/vmlinux ] && [ -c /dev/kvm ]";
      const asked = `[ "$*" = "--no-api --config-file /files/firecracker.json" ] && [ -s /files/firecracker.json ]`;
      writeFileSync(`${vmmDir}/firecracker`, `#!/usr/bin/sh\n${files} && ${asked} || exit 9\n${script}\n`, {
        mode: 0o755,
      });
      const config = { ...host.config, vmm: { ...host.config.vmm, kind: "auto", accelerator: "tcg" } } as const;
      const artifacts = { ...openArtifacts(config), firecracker: async () => vmmDir };
      const vmmTree = async () => tree;
      const choice = await chooseHostVmm({ config, cgroups: ground.cgroups, artifacts, vmmTree });
      assert.equal(choice.vmm, chosen, choice.reason);
      assert.match(choice.reason, reason);
    });
  }

  test("a guest runs under QEMU with KVM", { skip: withoutImage || withoutKvm }, async (context) => {
    const image = await openArtifacts(host.config).image("base");
    const verdict = await probe(qemuProbeCommand({ ...emulation, accelerator: "kvm" }), image, 5_000);
    if (!verdict.alive) context.skip(`KVM runs no guest on this machine: ${verdict.detail}`);
    leavesNothing();
  });
});
