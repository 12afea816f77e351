import assert from "node:assert/strict";
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { after, before, suite, test } from "node:test";
import { testDiskKeyText } from "../../vmm/testing-disk-key.ts";
import type { LauncherHost } from "../host.ts";
import { openHost } from "../main.ts";
import { type LauncherTestHost, launcherTestHost } from "../testing.ts";
import { launcherVerbs } from "../verbs.ts";
import { openQemuJailer } from "./jailer.ts";
import { buildVmmTree } from "./vmm-tree.ts";

const originalScript = `${import.meta.dirname}/jail.sh`;

const vmId = "00112233445566778899aabbccddeeff";
const request = { vmId, slot: 0, image: "base", vcpuCount: 1, memoryMib: 64, generation: 1, identityDrive: "e30=" };
const skip = process.getuid?.() === 0 ? false : "needs root";
const becomeVmm = "  exec /usr/bin/setpriv";
const sandboxOff = [becomeVmm, `  program=$1; shift 3; set -- "$program" "$@"\n${becomeVmm}`] as const;

interface Ablation {
  readonly property: string;
  /** Text of jail.sh and what stands there instead. */
  readonly edits: readonly (readonly [string, string])[];
  readonly fault: RegExp;
}

const edit = (property: string, from: string, to: string, fault: RegExp): Ablation => ({
  property,
  edits: [[from, to]],
  fault,
});

/** Runs before anything is mounted, while the process still sees the host. */
const early = (property: string, command: string, fault: RegExp) =>
  edit(property, '  mount --bind "$jail" "$jail"\n', `  ${command}\n  mount --bind "$jail" "$jail"\n`, fault);

function ablations({ config }: LauncherTestHost, host: LauncherHost): Ablation[] {
  const { cgroupRoot, cgroupParent } = config;
  const other = `${config.runDir}/other-jail`;
  const pivot = "  pivot_root . old\n";
  const leave = host.cgroups
    .hierarchies()
    .map((hierarchy) =>
      early(
        `membership of the cgroup ${hierarchy}`,
        `echo 0 >"${cgroupRoot}/${hierarchy}/cgroup.procs"`,
        new RegExp(`cgroup ${hierarchy} is|no process`),
      ),
    );
  const pids = host.cgroups.version === 1 ? "pids/" : "";
  return [
    edit("uid", '--reuid "$uid"', '--ruid 0 --euid "$uid"', /cannot read|uid is/),
    edit("gid", '--regid "$uid"', '--rgid 0 --egid "$uid"', /cannot read|gid is/),
    edit("no supplementary groups", "--clear-groups", "--groups 5", /groups is \[5\]/),
    edit("empty bounding set", "--bounding-set=-all", "", /bounding capabilities is/),
    {
      property: "empty inheritable set",
      edits: [
        ["--inh-caps=-all --ambient-caps=-all", "--inh-caps=-all,+kill"],
        ["--bounding-set=-all", "--bounding-set=-all,+kill"],
      ],
      fault: /inheritable capabilities is/,
    },
    { property: "seccomp", edits: [sandboxOff], fault: /seccomp is \[0/ },
    // The VMM's own filter sets the flag as well, so both have to go.
    { property: "no-new-privileges", edits: [sandboxOff, ["--no-new-privs", ""]], fault: /no-new-privileges is false/ },
    edit("pid namespace", " --pid ", " ", /pid in its namespace is/),
    edit("ipc namespace", " --ipc ", " ", /ipc namespace is/),
    edit("uts namespace", " --uts ", " ", /uts namespace is/),
    edit("cgroup namespace", " --cgroup ", " ", /cgroup namespace is/),
    edit("the slot's own network", "netns=$3", `netns=${config.runDir}/netns/slot-1`, /network namespace of the slot/),
    edit("old root unmounted", "  /usr/bin/umount -n -l /old\n", "", /mounts is .*\/old/),
    edit("read-only root", '  mount -o remount,bind,ro,nosuid,nodev,noexec "$jail"\n', "", /mounts is .*"\/ rw/),
    edit("read-only programs", 'ro,nosuid,nodev "$tree"', 'rw,nosuid,nodev "$tree"', /mounts is .*"\/usr rw/),
    edit(
      "read-only image",
      'ro,nosuid,nodev,noexec "$image"',
      'rw,nosuid,nodev,noexec "$image"',
      /mounts is .*"\/image rw/,
    ),
    edit(
      "no other mount",
      pivot,
      `  mount -t tmpfs -o size=4k extra old
${pivot}`,
      /mounts is .*"\/old rw/,
    ),
    edit(
      "no programs among its sockets",
      "rw,nosuid,nodev,noexec run run",
      "rw,nosuid,nodev run run",
      /mounts is .*"\/run rw,nosuid,nodev"/,
    ),
    edit("hidden processes", "hidepid=2,", "", /mounts is .*"\/proc/),
    early("root is the jail", `cp -a "$jail" ${other}; jail=${other}`, /root is/),
    early("no descriptor to the outside", "exec 9</etc/hostname", /descriptors is .*hostname/),
    edit("open files", "ulimit -n 256", "ulimit -n 257", /open files is "257"/),
    edit("no core files", "ulimit -c 0", "ulimit -c 1", /core file size is/),
    edit("no locked memory", "ulimit -l 0", "ulimit -l 4", /locked memory is/),
    edit("bounded files", '  ulimit -f "$fsize_blocks"\n', "", /file size is/),
    early("cgroup limits", `echo 4096 >"${cgroupRoot}/${pids}${cgroupParent}/${vmId}/pids.max"`, /pids\.max is "4096"/),
    ...leave,
  ];
}

suite("read-back of the jail", { skip }, () => {
  let testHost: LauncherTestHost;
  let host: LauncherHost;
  let jailScript: string;
  before(async () => {
    testHost = launcherTestHost();
    testHost.installHaltingImage("base");
    testHost.addSlot(0);
    testHost.addSlot(1, 0);
    // Each test writes the script that it wants to see fail.
    jailScript = `${testHost.config.runDir}/jail.sh`;
    copyFileSync(originalScript, jailScript);
    host = await openHost(testHost.config, async (config, _cgroups, artifacts) =>
      openQemuJailer(config, {
        ...{ artifacts, tree: await buildVmmTree(config, artifacts.digests), script: jailScript },
        choice: { vmm: "qemu", accelerator: "tcg", reason: "a test" },
      }),
    );
    await launcherVerbs(host).prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKeyText });
  });
  after(() => testHost?.close());

  test("a VM that lacks one property of its jail is killed before its guest runs", async (context) => {
    const original = readFileSync(originalScript, "utf8");
    const identity = `${testHost.config.runDir}/jails/${vmId}/identity.img`;
    for (const { property, edits, fault } of ablations(testHost, host)) {
      await context.test(property, async () => {
        writeFileSync(
          jailScript,
          edits.reduce((script, [from, to]) => {
            assert.ok(script.includes(from), `jail.sh has no "${from}"`);
            return script.replace(from, to);
          }, original),
        );
        const verbs = launcherVerbs(host);
        await assert.rejects(verbs.start(request), (error: Error & { reason?: string }) => {
          assert.equal(error.reason, "JAIL_MISMATCH", error.message);
          assert.match(error.message, fault);
          return true;
        });
        assert.deepEqual(await verbs.list({}), { vms: [{ vmId, slot: 0, state: "prepared" }] });
        assert.ok(!existsSync(identity), "the identity drive was left");
        rmSync(`${testHost.config.runDir}/other-jail`, { recursive: true, force: true });
      });
    }
  });

  test("a process that did not go into every cgroup is told nothing and ends", async () => {
    const join = '  for file in $cgroup_files; do echo 0 >"$file"; done\n';
    const original = readFileSync(originalScript, "utf8");
    assert.ok(original.includes(join));
    const marker = `${testHost.config.runDir}/went-on`;
    writeFileSync(jailScript, original.replace(join, "").replace("  exec nsenter", `  : >"${marker}"\n  exec nsenter`));
    const verbs = launcherVerbs(host);
    await assert.rejects(verbs.start(request), /VMM_FAILED|outside the VM's cgroup/);
    assert.ok(!existsSync(marker), "it went on outside the VM's cgroup");
    assert.deepEqual(await verbs.list({}), { vms: [{ vmId, slot: 0, state: "prepared" }] });
  });

  test("a VMM that takes the order to run and does not is no start", async () => {
    // A VMM that is left with an incoming migration to wait for answers `cont`, and stays as it is.
    const original = readFileSync(originalScript, "utf8");
    writeFileSync(jailScript, original.replace('-- "$@" </dev/null', '-- "$@" -incoming defer </dev/null'));
    const verbs = launcherVerbs(host);
    await assert.rejects(verbs.start(request), { reason: "VMM_FAILED" });
    assert.deepEqual(await verbs.list({}), { vms: [{ vmId, slot: 0, state: "prepared" }] });
  });

  test("the intact script starts the same VM and says where the time went", async () => {
    copyFileSync(originalScript, jailScript);
    const verbs = launcherVerbs(host);
    const began = performance.now();
    const { stagesMs } = await verbs.start({ ...request, generation: 2 }); // the order to run has used up the first
    const tookMs = performance.now() - began;
    const sumMs = Object.values(stagesMs).reduce((sum, stageMs) => sum + stageMs, 0);
    assert.ok(Object.values(stagesMs).every((stageMs) => stageMs > 0) && sumMs <= tookMs, JSON.stringify(stagesMs));
    assert.equal((await verbs.list({})).vms[0]?.state, "running");
    (await verbs.connect({ vmId, channel: "api" })).destroy();
    await assert.rejects(verbs.connect({ vmId, channel: "log" }), { reason: "WRONG_STATE" });
    assert.deepEqual(await verbs.place({ vmId }), { kvmPit: "none" });
    await verbs.stop({ vmId });
    assert.deepEqual(await verbs.list({}), { vms: [{ vmId, slot: 0, state: "exited" }] });
    await verbs.start({ ...request, generation: 3 });
    await verbs.remove({ vmId });
    assert.deepEqual(await verbs.list({}), { vms: [] });
  });
});
