import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { after, afterEach, before, beforeEach, suite, test } from "node:test";
import { snapshotCreation, snapshotLoad } from "../../vmm/firecracker/machine-document.ts";
import { testDiskKeyText } from "../../vmm/testing-disk-key.ts";
import { vmPaths } from "../config.ts";
import type { LauncherHost } from "../host.ts";
import type { Channel, Verbs } from "../protocol.ts";
import { installStubs, type LauncherTestHost, launcherTestHost } from "../testing.ts";
import { launcherVerbs } from "../verbs.ts";
import { askVmm, bootStub, openUnlockedHost } from "./stub-subject.ts";

const vmId = "0e".repeat(16);
const mib = 1024 * 1024;
const memoryBytes = 64 * mib;
const canaryText = "nobody may read or change this\n".padEnd(memoryBytes, "x");
const kinds = ["symlink", "hardlink", "fifo", "device", "directory", "other owner", "other length"] as const;
const skip = process.getuid?.() !== 0 ? "needs root" : process.arch !== "x64" ? "the stub is for x86-64" : false;

/** What the stub has for a memory when it has loaded none. */
const stubMemory = Buffer.alloc(memoryBytes);
for (let at = 0; at < memoryBytes; at += 4) stubMemory.writeUInt32BE(at - (at % mib), at);

suite("the files of a saved state, with stubs for Firecracker and its jailer", { skip }, () => {
  let testHost: LauncherTestHost;
  let host: LauncherHost;
  let verbs: Verbs;
  let saved: string;
  let home: string;
  let canary: string;
  let generation = 0;
  before(async () => {
    testHost = launcherTestHost(installStubs);
    testHost.installHaltingImage("base");
    testHost.addSlot(0);
    host = await openUnlockedHost(testHost.config);
    verbs = launcherVerbs(host);
    saved = vmPaths(testHost.config, vmId).saved;
    home = mkdtempSync("/root/lobsterd-canary-");
    canary = `${home}/file`;
  });
  after(() => {
    testHost?.close();
    rmSync(home, { recursive: true });
  });
  beforeEach(async () => {
    writeFileSync(canary, canaryText, { mode: 0o600 });
    await verbs.prepare({ vmId, slot: 0, image: "base", overlayMib: 32, diskKey: testDiskKeyText });
  });
  afterEach(async () => {
    await verbs.remove({ vmId });
    const { uid, mode, nlink } = statSync(canary);
    assert.deepEqual([uid, mode & 0o7777, nlink], [0, 0o600, 1]);
    assert.ok(readFileSync(canary, "utf8") === canaryText, "the canary was changed");
  });

  const orderOf = (memoryMib: number) => {
    generation += 1;
    return { vmId, slot: 0, image: "base", vcpuCount: 1, memoryMib, generation, identityDrive: "e30=" };
  };
  const booted = async (memoryMib = 64) => {
    await verbs.start(orderOf(memoryMib));
    await bootStub(verbs, vmId);
    await verbs.place({ vmId });
  };
  const create = async () =>
    assert.match(await askVmm(verbs, vmId, "PUT", "/snapshot/create", JSON.stringify(snapshotCreation)), /^204/);
  const load = () => askVmm(verbs, vmId, "PUT", "/snapshot/load", JSON.stringify(snapshotLoad));
  const readOut = async (channel: Channel) => await buffer(await verbs.connect({ vmId, channel }));
  const sendIn = async (channel: Channel, ...pieces: readonly Buffer[]) => {
    const stream = await verbs.connect({ vmId, channel });
    const [answer] = await Promise.all([buffer(stream), pipeline(Readable.from(pieces), stream, { end: true })]);
    return answer.toString();
  };
  /** The channel does not open; one that does is closed, or the tmpfs could not be taken away afterwards. */
  const refused = (channel: Channel, expected: object) => {
    const opening = verbs.connect({ vmId, channel }).then(async (stream) => {
      stream.destroy();
      await once(stream, "close");
    });
    return assert.rejects(opening, expected, channel);
  };
  const left = () => readdirSync(saved);
  /** What the VM's cgroup is charged with. */
  const chargedBytes = () => {
    const groups = host.cgroups.joinFiles(vmId).map((file) => file.slice(0, file.lastIndexOf("/")));
    const files = groups.flatMap((group) => [`${group}/memory.usage_in_bytes`, `${group}/memory.current`]);
    const text = files.map((file) => lstatSync(file, { throwIfNoEntry: false }) && readFileSync(file, "utf8"));
    return Number(text.find((value) => value !== undefined));
  };

  test("go out byte for byte, are not charged to the VM's cgroup, and have no name any more", async () => {
    await booted();
    assert.deepEqual(await verbs.makeRoom({ vmId }), { memoryMib: 64 });
    for (const name of ["memory", "state"]) {
      const { uid, mode, nlink } = lstatSync(`${saved}/${name}`);
      assert.deepEqual([uid, mode & 0o7777, nlink], [testHost.config.uidBase, 0o600, 1], name);
    }
    const { size, blocks } = lstatSync(`${saved}/memory`);
    assert.deepEqual([size, blocks * 512], [memoryBytes, memoryBytes], "allocated before the VMM writes it");
    const before = chargedBytes();
    await create();
    assert.ok(chargedBytes() - before < 16 * mib, `the VM's cgroup grew by ${chargedBytes() - before} bytes`);
    assert.equal((await readOut("state")).toString(), "state of the stub");
    assert.ok((await readOut("memory")).equals(stubMemory));
    assert.deepEqual(left(), []);
    for (const channel of ["state", "memory"] as const) await refused(channel, { reason: "HOST_UNSAFE" });
  });

  test("go in byte for byte, and have no name once the VM is placed, though the VMM has its memory open", async () => {
    await verbs.load(orderOf(64));
    const [state, memory] = [randomBytes(100_003), randomBytes(memoryBytes)];
    const whole = '{"ok":true,"result":{}}\n';
    assert.equal(await sendIn("incoming", state.subarray(0, 1), state.subarray(1)), whole);
    assert.equal(await sendIn("incomingMemory", memory), whole);
    assert.match(await load(), /^204/);
    await verbs.place({ vmId });
    assert.deepEqual(left(), []);
    const { pid } = await verbs.inspect({ vmId });
    const open = execFileSync("ls", ["-l", `/proc/${pid}/fd`], { encoding: "utf8" });
    assert.match(open, /saved\/memory \(deleted\)/);
    // What was loaded is what is saved next.
    await verbs.makeRoom({ vmId });
    await create();
    assert.ok((await readOut("state")).equals(state));
    assert.ok((await readOut("memory")).equals(memory));
  });

  test("a VM whose VMM has a file of a state open that has a name is killed", async () => {
    await verbs.load(orderOf(64));
    await sendIn("incoming", Buffer.from("state"));
    await sendIn("incomingMemory", stubMemory);
    await load();
    // As if the launcher did not take its name away.
    renameSync(`${saved}/memory`, `${saved}/other`);
    await assert.rejects(verbs.place({ vmId }), { reason: "JAIL_MISMATCH", message: /descriptors is .*other/ });
    assert.deepEqual(await verbs.list({}), { vms: [{ vmId, slot: 0, state: "exited" }] });
  });

  test("what comes in short, long or cut off is gone, and no VMM can read it before it is whole", async () => {
    await verbs.load(orderOf(64));
    const long = Buffer.alloc(16 * mib + 1);
    for (const [channel, name, bytes] of [
      ["incomingMemory", "memory", stubMemory.subarray(1)],
      ["incomingMemory", "memory", Buffer.concat([stubMemory, Buffer.of(0)])],
      ["incoming", "state", Buffer.alloc(0)],
      ["incoming", "state", long],
    ] as const) {
      await assert.rejects(sendIn(channel, bytes), `${channel} ${bytes.length}`);
      assert.deepEqual(left(), [], `${name} ${bytes.length}`);
    }
    const stream = await verbs.connect({ vmId, channel: "incomingMemory" });
    stream.on("error", () => {}).write(stubMemory.subarray(0, mib));
    const { uid, mode } = lstatSync(`${saved}/memory`);
    const busy = refused("incomingMemory", { reason: "CHANNEL_BUSY" });
    await busy.finally(() => stream.destroy());
    await once(stream, "close");
    assert.deepEqual([uid, mode & 0o777], [0, 0o600]);
    assert.deepEqual(left(), []);
    assert.match(await load(), /^400/);
  });

  test("are gone after a stop and after clearRoom, and belong to VMs that run", async () => {
    await assert.rejects(verbs.makeRoom({ vmId }), { reason: "NOT_FOUND" });
    await booted();
    for (const end of [verbs.clearRoom, verbs.stop]) {
      await verbs.makeRoom({ vmId });
      assert.deepEqual(left().sort(), ["memory", "state"]);
      for (let round = 0; round < 2; round += 1) await end({ vmId });
      assert.deepEqual(left(), []);
    }
    for (const channel of ["state", "memory", "incoming", "incomingMemory"] as const)
      await refused(channel, { reason: "NOT_FOUND" });
    for (const verb of [verbs.makeRoom, verbs.clearRoom])
      await assert.rejects(verb({ vmId: "0f".repeat(16) }), { reason: "NOT_FOUND" });
  });

  test("a tmpfs without room for the memory is told before anything is made", async () => {
    await booted(512);
    await assert.rejects(verbs.makeRoom({ vmId }), { reason: "VMM_FAILED", message: /no room: \d+ bytes are free/ });
    await refused("incomingMemory", { reason: "VMM_FAILED" });
    assert.deepEqual(left(), []);
    assert.match(await askVmm(verbs, vmId, "GET", "/"), /^200/);
  });

  test("a VMM cannot put anything in their place, nor take them away", async () => {
    await booted();
    await verbs.makeRoom({ vmId });
    const inodes = ["memory", "state"].map((name) => lstatSync(`${saved}/${name}`).ino);
    for (const name of ["memory", "state"])
      for (const kind of ["symlink", "hardlink", "fifo", "directory"] as const)
        assert.match(
          await askVmm(verbs, vmId, "PUT", "/replace", `${kind} saved/${name} ${canary}`),
          /^200 unlink: Permission denied/,
        );
    assert.match(
      await askVmm(verbs, vmId, "PUT", "/replace", `symlink saved ${canary}`),
      /rmdir: Device or resource busy/,
    );
    assert.match(await askVmm(verbs, vmId, "PUT", "/grow", "saved/more 1"), /Permission denied/);
    assert.deepEqual(
      ["memory", "state"].map((name) => lstatSync(`${saved}/${name}`).ino),
      inodes,
    );
    // What is its own it can make longer or shorter, and is not asked for it then.
    await askVmm(verbs, vmId, "PUT", "/grow", `saved/memory ${memoryBytes - 1}`);
    await askVmm(verbs, vmId, "PUT", "/grow", `saved/state ${16 * mib + 1}`);
    for (const channel of ["memory", "state"] as const) await refused(channel, { reason: "HOST_UNSAFE" });
  });

  /** What the VMM cannot do itself, root does here in its place: the launcher must not depend on the VMM being unable to. */
  for (const name of ["memory", "state"] as const) {
    for (const kind of kinds) {
      test(`${kind} in the place of ${name} is refused on the way out, and replaced or refused on the way in`, async () => {
        await booted();
        await verbs.makeRoom({ vmId });
        await create();
        plant(kind, `${saved}/${name}`);
        await refused(name, { reason: "HOST_UNSAFE" });
        await verbs.makeRoom({ vmId });
        const made = lstatSync(`${saved}/${name}`);
        assert.deepEqual([made.isFile(), made.nlink, made.uid], [true, 1, testHost.config.uidBase]);
        plant(kind, `${saved}/${name}`);
        const stream = await verbs.connect({ vmId, channel: name === "memory" ? "incomingMemory" : "incoming" });
        const taken = lstatSync(`${saved}/${name}`);
        stream.destroy();
        await once(stream, "close");
        assert.deepEqual([taken.isFile(), taken.nlink, taken.uid], [true, 1, 0]);
        plant(kind, `${saved}/${name}`);
        await verbs.clearRoom({ vmId });
        assert.deepEqual(
          left().filter((entry) => entry !== "linked"),
          [],
        );
      });
    }
  }

  test("no memory goes out of a guest whose disk cannot be made durable", async () => {
    await booted();
    await verbs.makeRoom({ vmId });
    await create();
    const { overlay } = vmPaths(testHost.config, vmId);
    renameSync(overlay, `${overlay}-moved`);
    execFileSync("mkfifo", [overlay]); // which no sync takes
    for (const channel of ["state", "memory"] as const) await refused(channel, { code: "EINVAL" });
    renameSync(`${overlay}-moved`, overlay);
    assert.equal((await readOut("state")).toString(), "state of the stub");
  });

  test("a directory on the way that is a link is refused", async () => {
    await booted();
    await verbs.makeRoom({ vmId });
    await create();
    renameSync(saved, `${saved}-moved`);
    symlinkSync(`${saved}-moved`, saved);
    for (const channel of ["state", "memory", "incoming", "incomingMemory"] as const)
      await refused(channel, { reason: "HOST_UNSAFE" });
    await assert.rejects(verbs.makeRoom({ vmId }), { reason: "HOST_UNSAFE" });
    assert.deepEqual(readdirSync(`${saved}-moved`).sort(), ["memory", "state"]);
  });

  function plant(kind: (typeof kinds)[number], at: string): void {
    const isThere = lstatSync(at, { throwIfNoEntry: false }) !== undefined;
    if (kind === "other owner" || kind === "other length") {
      if (!isThere) writeFileSync(at, "");
      if (kind === "other owner") chownSync(at, testHost.config.uidBase + 1, 0);
      else truncateSync(at, memoryBytes - 1);
      return;
    }
    rmSync(at, { force: true });
    if (kind === "symlink") symlinkSync(canary, at);
    else if (kind === "fifo") execFileSync("mkfifo", [at]);
    else if (kind === "device") execFileSync("mknod", [at, "c", "1", "3"]);
    else if (kind === "directory") mkdirSync(at);
    else linkSync(ownFile(at.endsWith("memory") ? memoryBytes : 100), at);
  }

  /** A hard link needs the same file system: what it leads to is in all else as the VMM's own would be. */
  function ownFile(bytes: number): string {
    const file = `${saved}/linked`;
    rmSync(file, { force: true });
    writeFileSync(file, "");
    truncateSync(file, bytes);
    chownSync(file, testHost.config.uidBase, testHost.config.uidBase);
    return file;
  }
});
