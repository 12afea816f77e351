import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { after, afterEach, before, beforeEach, suite, test } from "node:test";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { testDiskKeyText } from "../../vmm/testing-disk-key.ts";
import { vmPaths } from "../config.ts";
import type { LauncherHost } from "../host.ts";
import type { Channel, Verbs } from "../protocol.ts";
import { installStubs, type LauncherTestHost, launcherTestHost } from "../testing.ts";
import { launcherVerbs } from "../verbs.ts";
import { askVmm, openUnlockedHost } from "./stub-subject.ts";

/** Ids of which one is the beginning of the others as far as two ids of one length can be. */
const [a, ab, a_b] = ["a".repeat(32), `${"a".repeat(31)}b`, `${"a".repeat(30)}0b`] as const;
const skip = process.getuid?.() !== 0 ? "needs root" : process.arch !== "x64" ? "the stub is for x86-64" : false;
const canaryText = "nobody may read or change this\n".padEnd(65_536, "x");
const kinds = ["symlink", "hardlink", "fifo", "device", "directory"] as const;

suite("what a taken-over VMM or a planted file can make the launcher do", { skip }, () => {
  let testHost: LauncherTestHost;
  let host: LauncherHost;
  let verbs: Verbs;
  let home: string;
  let canary: string;
  before(async () => {
    testHost = launcherTestHost(installStubs);
    testHost.installHaltingImage("base");
    for (const slot of [0, 1, 2]) testHost.addSlot(slot);
    host = await openUnlockedHost(testHost.config);
    verbs = launcherVerbs(host);
    home = mkdtempSync("/root/lobsterd-canary-");
  });
  after(() => {
    testHost?.close();
    rmSync(home, { recursive: true });
  });
  beforeEach(() => {
    canary = `${home}/file`;
    writeFileSync(canary, canaryText, { mode: 0o600 });
  });
  afterEach(async () => {
    for (const vmId of [a, ab, a_b]) await verbs.remove({ vmId });
    assert.deepEqual(await verbs.list({}), { vms: [] });
    const { uid, mode, nlink } = statSync(canary);
    assert.deepEqual([uid, mode & 0o7777, nlink, readFileSync(canary, "utf8")], [0, 0o600, 1, canaryText]);
  });

  const prepared = (vmId: string, slot: number) =>
    verbs.prepare({ vmId, slot, image: "base", overlayMib: 32, diskKey: testDiskKeyText });
  const startOf = (vmId: string, slot: number) =>
    verbs.start({ vmId, slot, image: "base", vcpuCount: 1, memoryMib: 64, generation: 1, identityDrive: "e30=" });
  const started = async (vmId: string, slot: number) => {
    await prepared(vmId, slot);
    await startOf(vmId, slot);
  };
  /** The channel of the first VM does not open. */
  const refused = async (channel: Channel, what = "") => {
    const opened = await verbs.connect({ vmId: a, channel }).catch((error: Error & { reason?: string }) => error);
    if (!(opened instanceof Error)) opened.destroy();
    assert.ok(opened instanceof Error && opened.reason === "HOST_UNSAFE", `${channel} ${what}`);
  };
  const rootOf = (vmId: string) => host.jailer.channelsIn(vmPaths(testHost.config, vmId), vmId);

  for (const kind of [...kinds, "file"] as const) {
    test(`start refuses a ${kind} where the jailer would make its directory`, async () => {
      await prepared(a, 0);
      const { jail } = vmPaths(testHost.config, a);
      // The jailer would take a directory that exists, and write where a link leads. A hard link needs the same file system.
      const target = kind === "hardlink" ? `${testHost.config.runDir}/target` : canary;
      if (kind === "hardlink") writeFileSync(target, canaryText);
      plant(kind, `${jail}/firecracker`, target);
      await assert.rejects(startOf(a, 0), { reason: "HOST_UNSAFE" });
      assert.ok(lstatSync(`${jail}/firecracker`, { throwIfNoEntry: false }), "the refused object was removed");
      assert.equal(readFileSync(target, "utf8"), canaryText);
      if (kind === "hardlink") unlinkSync(target);
    });
  }

  test("start refuses programs that others can write, or that are links, and a parent that others can write", async () => {
    await prepared(a, 0);
    const programs = `${testHost.config.stateDir}/programs`;
    for (const path of [programs, `${programs}/jailer`, `${programs}/firecracker`, `${testHost.config.runDir}/jails`]) {
      const { mode } = statSync(path);
      for (const open of [0o002, 0o020]) {
        chmodSync(path, mode | open);
        await assert.rejects(startOf(a, 0), { reason: "HOST_UNSAFE" }, path);
      }
      chmodSync(path, mode);
      chownSync(path, 60_001, 0);
      await assert.rejects(startOf(a, 0), { reason: "HOST_UNSAFE" }, path);
      chownSync(path, 0, 0);
    }
    renameSync(`${programs}/jailer`, `${programs}/other`);
    symlinkSync(`${programs}/other`, `${programs}/jailer`);
    await assert.rejects(startOf(a, 0), { reason: "HOST_UNSAFE" });
    renameSync(`${programs}/other`, `${programs}/jailer`);
    await startOf(a, 0);
  });

  for (const name of ["overlay.ext4", "identity.img", "log.fifo"]) {
    for (const kind of kinds) {
      test(`a VMM puts a ${kind} in the place of ${name}`, async () => {
        await started(a, 0);
        await started(ab, 1);
        const target = kind === "hardlink" ? "/serial.fifo" : canary;
        const outcome = await askVmm(verbs, a, "PUT", "/replace", `${kind} ${name} ${target}`);
        // The VM's files are mounts in there, which even their owner cannot take away; a device needs a privilege.
        const impossible = name !== "log.fifo" ? /busy/ : kind === "device" ? /not permitted/ : undefined;
        assert.match(outcome, impossible ?? /in place/);
        const inodes = [vmPaths(testHost.config, a).overlay, vmPaths(testHost.config, a).identity].map(
          (path) => statSync(path).ino,
        );
        await everyVerb(a);
        if (name === "log.fifo" && kind !== "fifo") await refused("log");
        assert.deepEqual(
          [vmPaths(testHost.config, a).overlay, vmPaths(testHost.config, a).identity].map((path) => statSync(path).ino),
          inodes,
        );
        await verbs.remove({ vmId: a });
        assert.match(await askVmm(verbs, ab, "GET", "/"), /^200/, "another VM was hit");
      });
    }
  }

  /** What the VMM cannot do itself, root does here in its place: the launcher must not depend on the VMM being unable to. */
  for (const kind of kinds) {
    test(`a ${kind} stands in the place of a channel, whoever managed that`, async () => {
      await started(a, 0);
      await started(ab, 1);
      for (const [channel, name] of [
        ["serial", "serial.fifo"],
        ["api", "api.socket"],
      ] as const) {
        unlinkSync(`${rootOf(a)}/${name}`);
        const foreign = `${rootOf(ab)}/${name}`;
        plant(kind, `${rootOf(a)}/${name}`, kind === "hardlink" ? foreign : channel === "api" ? foreign : canary);
        if (kind === "fifo" && channel === "serial") continue; // root's FIFO: see the owner below
        await refused(channel, `${channel} ${kind}`);
      }
      assert.equal(
        (await askVmm(verbs, ab, "GET", "/").catch((error: Error) => error.message)).slice(0, 3),
        kind === "hardlink" ? "api" : "200",
      );
    });
  }

  test("a FIFO or socket of another owner is refused, and a directory on the way that is a link", async () => {
    await started(a, 0);
    for (const [channel, name] of [
      ["serial", "serial.fifo"],
      ["api", "api.socket"],
    ] as const) {
      chownSync(`${rootOf(a)}/${name}`, testHost.config.uidBase + 1, 0);
      await refused(channel, channel);
      chownSync(`${rootOf(a)}/${name}`, testHost.config.uidBase, testHost.config.uidBase);
    }
    renameSync(rootOf(a), `${rootOf(a)}-moved`);
    symlinkSync(`${rootOf(a)}-moved`, rootOf(a));
    await refused("api");
    unlinkSync(rootOf(a));
    renameSync(`${rootOf(a)}-moved`, rootOf(a));
    assert.match(await askVmm(verbs, a, "GET", "/"), /^200/);
  });

  test("removing one of three VMs with like names leaves the others, and nobody is signalled by a number in a file", async () => {
    const vms = [a, ab, a_b] as const;
    for (const [slot, vmId] of vms.entries()) await started(vmId, slot);
    const bystander = spawn("sleep", ["1000"], { stdio: "ignore" });
    try {
      // The jailer leaves the number of its VMM in the jail, where the VMM can write whatever it likes.
      for (const vmId of vms) {
        rmSync(`${rootOf(vmId)}/firecracker.pid`, { force: true });
        writeFileSync(`${rootOf(vmId)}/firecracker.pid`, String(bystander.pid));
      }
      const pids = await Promise.all(vms.map(async (vmId) => (await verbs.inspect({ vmId })).pid));
      await verbs.remove({ vmId: a });
      assert.deepEqual(
        (await verbs.list({})).vms.map(({ vmId, state }) => [vmId, state]).sort(),
        [
          [ab, "running"],
          [a_b, "running"],
        ].sort(),
      );
      for (const index of [1, 2]) assert.equal((await verbs.inspect({ vmId: vms[index] ?? "" })).pid, pids[index]);
      await endedByItself(ab);
      await verbs.remove({ vmId: ab });
      await verbs.remove({ vmId: a_b });
      assert.ok(isAlive(bystander), "a bystander was signalled");
    } finally {
      bystander.kill("SIGKILL");
    }
  });

  test("an ordinary user reaches nothing of a jail, and can plant nothing beside it", async () => {
    await started(a, 0);
    const { disk, image, identity, overlay, jail } = vmPaths(testHost.config, a);
    const root = rootOf(a);
    const connects =
      "use IO::Socket::UNIX; exit(chdir($ARGV[0]) && IO::Socket::UNIX->new(Peer => 'api.socket') ? 0 : 1)";
    const reads = [
      ...["log", "metrics", "serial"].map((name) => `${root}/${name}.fifo`),
      `${image}/vmlinux`,
      identity,
      overlay,
    ];
    const probes: (readonly [string, ...string[]])[] = [
      ["ls", jail],
      ["ls", root],
      ["perl", "-e", connects, root],
      ...reads.map((path) => ["dd", `if=${path}`, "iflag=nonblock", "bs=1", "count=1", "status=none"] as const),
      ["cat", `${disk}/record.json`],
      ["mkdir", `${testHost.config.runDir}/jails/${ab}`],
      ["ln", "-s", "/etc/passwd", `${jail}/planted`],
      ["mkfifo", `${root}/planted`],
      ["touch", `${testHost.config.stateDir}/vms/planted`],
    ];
    const ordinary = [
      "--reuid",
      "60001",
      "--regid",
      "60001",
      "--clear-groups",
      "--inh-caps=-all",
      "--bounding-set=-all",
      "--",
    ];
    for (const probe of probes) {
      const { status, stderr } = spawnSync("setpriv", [...ordinary, ...probe], { encoding: "utf8", timeout: 10_000 });
      assert.notEqual(status, 0, probe.join(" "));
      if (probe[0] !== "perl") assert.match(stderr, /Permission denied/, probe.join(" "));
    }
    for (const [program, ...rest] of probes.slice(0, 3))
      assert.equal(spawnSync(program, rest, { timeout: 10_000 }).status, 0, `as root: ${program} ${rest.join(" ")}`);
  });

  test("a slot's uid is not given again while a process or a file of it is left", async () => {
    const uid = String(testHost.config.uidBase);
    const left = spawn("setpriv", ["--reuid", uid, "--regid", uid, "--clear-groups", "sleep", "1000"], {
      stdio: "ignore",
    });
    try {
      const became = async () => readFileSync(`/proc/${left.pid}/status`, "utf8").includes(`Uid:\t${uid}`) || undefined;
      await waitFor("the process of that uid", became, { timeoutMs: 5_000, intervalMs: 5 });
      await assert.rejects(prepared(a, 0), { reason: "SLOT_IN_USE" });
    } finally {
      left.kill("SIGKILL");
      await once(left, "exit");
    }
    const forgotten = vmPaths(testHost.config, ab);
    mkdirSync(forgotten.disk);
    writeFileSync(forgotten.overlay, "");
    chownSync(forgotten.overlay, testHost.config.uidBase, 0);
    await assert.rejects(prepared(a, 0), { reason: "SLOT_IN_USE" });
    await verbs.remove({ vmId: ab });
    await prepared(a, 0);
  });

  test("a jail in which a VMM nested directories deeper than a path can be long is removed", async () => {
    await started(a, 0);
    const nest = `chdir $ARGV[0]; for (1..3000) { mkdir "directory" or die $!; chdir "directory" or die $! }`;
    execFileSync("perl", ["-e", nest, rootOf(a)]);
    await verbs.remove({ vmId: a });
    assert.ok(!existsSync(vmPaths(testHost.config, a).jail));
  });

  /** Verbs that look at the VM's files; what they answer is not the point here. */
  async function everyVerb(vmId: string): Promise<void> {
    await verbs.inspect({ vmId });
    await verbs.emptyIdentityDrive({ vmId });
    for (const channel of ["log", "metrics", "serial"] as const) {
      const opened = await verbs.connect({ vmId, channel }).catch(() => undefined);
      opened?.destroy();
    }
    await verbs.list({});
  }

  async function endedByItself(vmId: string): Promise<void> {
    await askVmm(verbs, vmId, "PUT", "/exit").catch(() => undefined);
    await host.cgroups.kill(vmId); // waits until it is gone; there is nothing left to kill
  }
});

function plant(kind: (typeof kinds)[number] | "file", at: string, target: string): void {
  if (kind === "symlink") symlinkSync(target, at);
  else if (kind === "hardlink") linkSync(target, at);
  else if (kind === "fifo") execFileSync("mkfifo", [at]);
  else if (kind === "device") execFileSync("mknod", [at, "c", "1", "3"]);
  else if (kind === "directory") mkdirSync(at);
  else writeFileSync(at, "");
}

const isAlive = ({ exitCode, signalCode }: ChildProcess) => exitCode === null && signalCode === null;
