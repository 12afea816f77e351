import assert from "node:assert/strict";
import { once } from "node:events";
import { lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { after, before, suite, test } from "node:test";
import { testDiskKeyText } from "../../vmm/testing-disk-key.ts";
import { vmPaths } from "../config.ts";
import type { LauncherHost } from "../host.ts";
import { placedPits } from "../kvm-pit.ts";
import { openHost } from "../main.ts";
import { imageFiles, type Verbs } from "../protocol.ts";
import { hostMounts, installStubs, type LauncherTestHost, launcherTestHost } from "../testing.ts";
import { launcherVerbs } from "../verbs.ts";
import { openFirecrackerJailer } from "./jailer.ts";
import { askVmm, bootStub, kvmMissing, openUnlockedHost } from "./stub-subject.ts";

const [first, second] = ["0a".repeat(16), "0b".repeat(16)] as const;
let generation = 0;
const startOf = (vmId: string, slot: number) => ({
  ...{ vmId, slot, image: "base", vcpuCount: 1, memoryMib: 64, generation: ++generation },
  identityDrive: Buffer.from("{}").toString("base64"),
});
const skip = process.getuid?.() !== 0 ? "needs root" : process.arch !== "x64" ? "the stub is for x86-64" : false;

suite("Firecracker's jail, with a stub for its jailer", { skip }, () => {
  let testHost: LauncherTestHost;
  let host: LauncherHost;
  let verbs: Verbs;
  before(async () => {
    testHost = launcherTestHost(installStubs);
    testHost.installHaltingImage("base");
    for (const slot of [0, 1]) testHost.addSlot(slot);
    host = await openUnlockedHost(testHost.config);
    verbs = launcherVerbs(host);
  });
  after(() => testHost?.close());

  const started = async (vmId: string, slot: number) => {
    await verbs.prepare({ vmId, slot, image: "base", overlayMib: 32, diskKey: testDiskKeyText });
    return verbs.start(startOf(vmId, slot));
  };

  test("a VM is started, booted, placed, inspected and removed, and the host's mount table never shows it", async () => {
    assert.equal((await verbs.describe({})).name, "firecracker");
    const mountsBefore = hostMounts();
    const { stagesMs } = await started(first, 0);
    assert.ok(Object.values(stagesMs).every((stageMs) => stageMs >= 0));
    assert.match(await askVmm(verbs, first, "GET", "/"), /^200 .*"vmm_version":"1.16.1"/);
    await bootStub(verbs, first);
    const { kvmPit } = await verbs.place({ vmId: first });
    assert.equal(kvmPit, kvmMissing() === undefined ? "placed" : "none");
    assert.equal(placedPits(host.cgroups, first).length, kvmPit === "placed" ? 1 : 0);
    assert.deepEqual(await verbs.place({ vmId: first }), { kvmPit }, "placing is safe to repeat");
    const facts = await verbs.inspect({ vmId: first });
    assert.deepEqual(facts.seccompModes, [2, 2]);
    assert.equal(facts.uid, testHost.config.uidBase);
    assert.deepEqual(hostMounts(), mountsBefore);
    await verbs.remove({ vmId: first });
    assert.deepEqual(await verbs.list({}), { vms: [] });
    assert.deepEqual(readdirSync(`${testHost.config.runDir}/jails`), []);
    assert.deepEqual(readdirSync(`${testHost.config.stateDir}/vms`), []);
  });

  test("kernel and root file system are the VM's own copies, root's and read-only; the identity drive is the VMM's alone", async () => {
    await started(first, 0);
    await started(second, 1);
    const [one, other] = [vmPaths(testHost.config, first), vmPaths(testHost.config, second)];
    for (const name of imageFiles) {
      const installed = `${testHost.config.imagesDir}/base/${name}`;
      const inodes = [installed, `${one.image}/${name}`, `${other.image}/${name}`].map((path) => statSync(path).ino);
      assert.equal(new Set(inodes).size, 3, name);
      const { uid, mode } = statSync(`${one.image}/${name}`);
      assert.deepEqual([uid, mode & 0o777], [0, 0o444], name);
    }
    const { uid, mode, nlink } = lstatSync(one.identity);
    assert.deepEqual([uid, mode & 0o777, nlink], [testHost.config.uidBase, 0o400, 1]);
    await verbs.emptyIdentityDrive({ vmId: first });
    assert.ok(readFileSync(one.identity).every((byte) => byte === 0));
    const [ours, theirs] = [await verbs.inspect({ vmId: first }), await verbs.inspect({ vmId: second })];
    for (const kind of ["mnt", "pid", "net"] as const)
      assert.notEqual(ours.namespaces[kind], theirs.namespaces[kind], kind);
    for (const vmId of [first, second]) await verbs.remove({ vmId });
  });

  test("log, metrics and serial arrive as the VMM wrote them, one reader each", async () => {
    await started(first, 0);
    for (const channel of ["log", "metrics", "serial"] as const) {
      const reading = await verbs.connect({ vmId: first, channel });
      await assert.rejects(verbs.connect({ vmId: first, channel }), { reason: "CHANNEL_BUSY" });
      const data = once(reading, "data");
      assert.match(await askVmm(verbs, first, "PUT", "/write", `${channel}.fifo hello-${channel}`), /^200/);
      assert.equal(String((await data)[0]), `hello-${channel}\n`);
      reading.destroy();
      await once(reading, "close");
    }
    await verbs.remove({ vmId: first });
  });

  test("a channel closes when its VMM ends", async () => {
    await started(first, 0);
    await askVmm(verbs, first, "PUT", "/write", "log.fifo last-words");
    const log = await verbs.connect({ vmId: first, channel: "log" });
    const closed = once(log.resume(), "close");
    await verbs.remove({ vmId: first });
    await closed;
  });

  test("another launcher finds, reads, reaches and removes what this one started", async () => {
    await started(first, 0);
    await bootStub(verbs, first);
    const before = await verbs.inspect({ vmId: first });
    const next = launcherVerbs(await openUnlockedHost(testHost.config));
    assert.deepEqual(await next.list({}), { vms: [{ vmId: first, slot: 0, state: "running" }] });
    assert.deepEqual(await next.inspect({ vmId: first }), before);
    assert.match(await askVmm(next, first, "GET", "/"), /^200/);
    await next.place({ vmId: first });
    await next.remove({ vmId: first });
    assert.deepEqual(await next.list({}), { vms: [] });
  });

  test("a VM that ended is started again in a new jail, over the same disk", async () => {
    await started(first, 0);
    const disk = statSync(vmPaths(testHost.config, first).overlay).ino;
    await askVmm(verbs, first, "PUT", "/exit").catch(() => undefined);
    await host.cgroups.kill(first);
    assert.deepEqual(await verbs.list({}), { vms: [{ vmId: first, slot: 0, state: "exited" }] });
    await verbs.start(startOf(first, 0));
    assert.equal(statSync(vmPaths(testHost.config, first).overlay).ino, disk);
    assert.match(await askVmm(verbs, first, "GET", "/"), /^200/);
    await verbs.remove({ vmId: first });
  });

  test("a stopped VM has no process and no identity drive, and the same disk at its next start", async () => {
    await started(first, 0);
    const { overlay, identity } = vmPaths(testHost.config, first);
    const disk = statSync(overlay).ino;
    for (let time = 0; time < 2; time += 1) await verbs.stop({ vmId: first });
    assert.deepEqual(await verbs.list({}), { vms: [{ vmId: first, slot: 0, state: "exited" }] });
    assert.equal(lstatSync(identity, { throwIfNoEntry: false }), undefined);
    await verbs.start(startOf(first, 0));
    assert.equal(statSync(overlay).ino, disk);
    await verbs.remove({ vmId: first });
    await assert.rejects(verbs.stop({ vmId: first }), { reason: "NOT_FOUND" });
  });

  test("a copy of the kernel that differs from its manifest is not run", async () => {
    await verbs.prepare({ vmId: first, slot: 0, image: "base", overlayMib: 32, diskKey: testDiskKeyText });
    const kernel = `${vmPaths(testHost.config, first).image}/vmlinux`;
    flipByte(kernel);
    await assert.rejects(verbs.start(startOf(first, 0)), { reason: "ARTIFACT_MISMATCH" });
    flipByte(kernel);
    await verbs.start(startOf(first, 0));
    await verbs.remove({ vmId: first });
  });

  test("programs that are not the locked release are not run", async () => {
    const locked = await openHost(testHost.config, (config, cgroups, artifacts) =>
      openFirecrackerJailer(config, {
        ...{ programsDir: config.vmm.firecrackerDir, reason: "a test", cgroupVersion: cgroups.version },
        verify: artifacts.verifyFiles,
      }),
    );
    await verbs.prepare({ vmId: first, slot: 0, image: "base", overlayMib: 32, diskKey: testDiskKeyText });
    await assert.rejects(launcherVerbs(locked).start(startOf(first, 0)), {
      ...{ reason: "ARTIFACT_MISMATCH", message: /^firecracker: SHA-256 of / },
    });
    assert.deepEqual(await verbs.list({}), { vms: [{ vmId: first, slot: 0, state: "prepared" }] });
    await verbs.remove({ vmId: first });
  });
});

function flipByte(file: string): void {
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(5000) ^ 1, 5000);
  writeFileSync(file, bytes);
}
