import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, suite, test } from "node:test";
import { testDiskKeyText } from "../../vmm/testing-disk-key.ts";
import type { LauncherHost } from "../host.ts";
import type { Verbs } from "../protocol.ts";
import { installStubs, type LauncherTestHost, launcherTestHost } from "../testing.ts";
import { launcherVerbs } from "../verbs.ts";
import { askVmm, bootStub, openUnlockedHost } from "./stub-subject.ts";

const vmId = "0c".repeat(16);
let generation = 0;
/** A start that came as far as running the VMM has used its generation up. */
const next = () => {
  generation += 1;
  return { vmId, slot: 0, image: "base", vcpuCount: 1, memoryMib: 64, generation, identityDrive: "e30=" };
};
const skip = process.getuid?.() !== 0 ? "needs root" : process.arch !== "x64" ? "the stub is for x86-64" : false;

interface Ablation {
  readonly property: string;
  readonly program: "jailer" | "firecracker";
  /** Text of the stub and what stands there instead. */
  readonly edits: readonly (readonly [string, string])[];
  readonly fault: RegExp;
}

const jailer = (property: string, from: string, to: string, fault: RegExp): Ablation => ({
  property,
  program: "jailer",
  edits: [[from, to]],
  fault,
});
const beforeIds = "call('setgroups', 0, 0);\n";
const early = (property: string, code: string, fault: RegExp) =>
  jailer(property, beforeIds, `${code}\n${beforeIds}`, fault);

function ablations({ config }: LauncherTestHost, { cgroups }: LauncherHost): Ablation[] {
  const pivot = [
    ["call('unshare', $NEWNS);\n", ""],
    ["call('mount', 0, '/', 0, 0x84000, 0);", ""],
    ["call('mount', $root, $root, 0, 0x5000, 0);", ""],
    ["mkdir 'old_root', 0600;\ncall('pivot_root', '.', 'old_root');\n", "chroot '.';\n"],
    ["call('umount2', 'old_root', 2);\nrmdir 'old_root';\n", ""],
  ] as const;
  const outside = (hierarchy: string) =>
    jailer(
      `membership of the cgroup ${hierarchy}`,
      "sysopen(my $null,",
      `write_file('${config.cgroupRoot}/${hierarchy}/cgroup.procs', $$);\nsysopen(my $null,`,
      new RegExp(`cgroup ${hierarchy} is|no process`),
    );
  const list: Ablation[] = [
    jailer("uid", "'setresuid', $uid, $uid, $uid", "'setresuid', $uid, $uid, 0", /uid is \[/),
    jailer("gid", "'setresgid', $gid, $gid, $gid", "'setresgid', $gid, $gid, 0", /gid is \[/),
    jailer(
      "no supplementary groups",
      "call('setgroups', 0, 0)",
      "call('setgroups', 1, pack('L', 5))",
      /groups is \[5\]/,
    ),
    early("no permitted capabilities", "call('prctl', 8, 1, 0, 0, 0);", /permitted capabilities is/),
    { property: "own mount namespace", program: "jailer", edits: pivot, fault: /mounts is/ },
    jailer("own pid namespace", "  call('unshare', $NEWPID);\n", "", /pid in its namespace is/),
    jailer("own network namespace", "  call('setns', fileno $netns, $NEWNET);\n", "", /net namespace is/),
    jailer(
      "the slot's network",
      "sysopen(my $netns, $one{netns},",
      `sysopen(my $netns, '${config.runDir}/netns/slot-1',`,
      /network namespace of the slot/,
    ),
    early("root is the jail", "mkdir '/deep', 0700; chown $uid, $gid, '/deep'; chroot '/deep';", /root is/),
    early(
      "nothing else is mounted",
      "mkdir '/more'; call('mount', 'none', '/more', 'tmpfs', 0, 'size=4k');",
      /mounts is .*\/more/,
    ),
    jailer(
      "no descriptor to the outside",
      "sysopen(my $null,",
      "our $leak; sysopen($leak, '/etc/hostname', O_RDONLY);\nsysopen(my $null,",
      /descriptors is .*hostname/,
    ),
    jailer(
      "open files",
      "call('setrlimit', $resource eq 'fsize'",
      "$resource eq 'fsize' and call('setrlimit', $resource eq 'fsize'",
      /open files is/,
    ),
    jailer(
      "bounded files",
      "call('setrlimit', $resource eq 'fsize'",
      "$resource ne 'fsize' and call('setrlimit', $resource eq 'fsize'",
      /file size is/,
    ),
    jailer(
      "no --no-seccomp",
      '$0 = "/$name @ARGV"',
      '$0 = "/$name @ARGV --no-seccomp"',
      /command line is \["--no-seccomp"\]/,
    ),
    jailer(
      "no --seccomp-filter",
      '$0 = "/$name @ARGV"',
      '$0 = "/$name @ARGV --seccomp-filter f"',
      /command line is \["--seccomp-filter"\]/,
    ),
    jailer(
      "cgroup values",
      '"$group/$parts[0]", $parts[1]',
      '"$group/$parts[0]", $parts[0] eq "pids.max" ? 4096 : $parts[1]',
      /pids\.max is "4096"/,
    ),
    {
      property: "a filter on the API thread",
      program: "firecracker",
      edits: [["filter_threads('this');", ""]],
      fault: /seccomp is \[0,0\]/,
    },
    ...cgroups.hierarchies().map(outside),
  ];
  return list;
}

suite("read-back of Firecracker's jail", { skip }, () => {
  let testHost: LauncherTestHost;
  let host: LauncherHost;
  let verbs: Verbs;
  let originals: Readonly<Record<Ablation["program"], string>>;
  const programPath = (program: string) => `${testHost.config.stateDir}/programs/${program}`;
  before(async () => {
    testHost = launcherTestHost(installStubs);
    testHost.installHaltingImage("base");
    testHost.addSlot(0);
    testHost.addSlot(1, 0);
    host = await openUnlockedHost(testHost.config);
    verbs = launcherVerbs(host);
    originals = {
      jailer: readFileSync(programPath("jailer"), "utf8"),
      firecracker: readFileSync(programPath("firecracker"), "utf8"),
    };
    await verbs.prepare({ vmId, slot: 0, image: "base", overlayMib: 32, diskKey: testDiskKeyText });
  });
  after(() => testHost?.close());

  const withEdits = async (program: Ablation["program"], edits: Ablation["edits"], work: () => Promise<void>) => {
    let text = originals[program];
    for (const [from, to] of edits) {
      assert.ok(text.includes(from), `the stub ${program} has no "${from}"`);
      text = text.replace(from, () => to);
    }
    writeFileSync(programPath(program), text);
    try {
      await work();
    } finally {
      writeFileSync(programPath(program), originals[program]);
    }
  };
  const mismatch = (fault: RegExp) => (error: Error & { reason?: string }) => {
    assert.equal(error.reason, "JAIL_MISMATCH", error.message);
    assert.match(error.message, fault);
    return true;
  };

  test("a VM that lacks one property of its jail is killed before its API can be reached", async (context) => {
    for (const { property, program, edits, fault } of ablations(testHost, host)) {
      await context.test(property, () =>
        withEdits(program, edits, async () => {
          await assert.rejects(verbs.start(next()), mismatch(fault));
          assert.deepEqual(await verbs.list({}), { vms: [{ vmId, slot: 0, state: "prepared" }] });
        }),
      );
    }
  });

  test("a booted VM with a thread without a filter is killed", async () => {
    await withEdits("firecracker", [["filter_threads('all')", "filter_threads('this')"]], async () => {
      await verbs.start(next());
      await bootStub(verbs, vmId);
      await assert.rejects(verbs.place({ vmId }), mismatch(/seccomp is \[0,2\]/));
      assert.deepEqual(await verbs.list({}), { vms: [{ vmId, slot: 0, state: "exited" }] });
    });
  });

  test("a limit that was raised after the start is found by place, and the VM killed", async () => {
    await verbs.start(next());
    const [file] = host.cgroups.joinFiles(vmId).filter((path) => path.includes("pids") || host.cgroups.version === 2);
    writeFileSync(`${file?.slice(0, file.lastIndexOf("/"))}/pids.max`, "max");
    await assert.rejects(verbs.place({ vmId }), mismatch(/pids\.max is "max"/));
    assert.deepEqual(await verbs.list({}), { vms: [{ vmId, slot: 0, state: "exited" }] });
  });

  test("the same stubs unchanged start, with the sizes of this start as limits", async () => {
    await verbs.start({ ...next(), memoryMib: 128 });
    const { pid } = await verbs.inspect({ vmId });
    const limits = readFileSync(`/proc/${pid}/limits`, "utf8");
    // The longest file that the VMM has to write is a snapshot's memory; it fits, and a byte more than the limit does not.
    assert.match(await askVmm(verbs, vmId, "PUT", "/grow", `memory ${129 * 1024 * 1024}`), /grown/);
    assert.match(await askVmm(verbs, vmId, "PUT", "/grow", `memory ${129 * 1024 * 1024 + 1}`), /File too large/);
    assert.match(limits, new RegExp(`Max file size +${129 * 1024 * 1024} `));
    await verbs.remove({ vmId });
  });
});
