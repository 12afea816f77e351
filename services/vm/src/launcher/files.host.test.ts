import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { after, before, suite, test } from "node:test";
import { testDiskKey, testDiskKeyText } from "../vmm/testing-disk-key.ts";
import { decryptSectors } from "./disk-cipher.ts";
import { openHost } from "./main.ts";
import type { Verbs } from "./protocol.ts";
import { type LauncherTestHost, launcherTestHost } from "./testing.ts";
import { launcherVerbs } from "./verbs.ts";

const vmId = "0f".repeat(16);
const preparation = { vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKeyText };
const skip = process.getuid?.() === 0 ? false : "needs root";
const canaryText = "nobody may read or change this\n".padEnd(65_536, "x");

/** What may stand where the launcher expects its own file or directory. */
const objects: Record<string, (at: string, canary: string) => void> = {
  "a symbolic link to a file": (at, canary) => symlinkSync(canary, at),
  "a symbolic link to a directory": (at, canary) => symlinkSync(dirname(canary), at),
  "a hard link": (at, canary) => linkSync(canary, at),
  "a FIFO": (at) => void execFileSync("mkfifo", [at]),
  "a device": (at) => void execFileSync("mknod", [at, "c", "1", "3"]),
  "a directory": (at) => mkdirSync(at),
  "a file": (at) => writeFileSync(at, "", { mode: 0o600 }),
};

suite("files that the launcher did not make", { skip }, () => {
  let host: LauncherTestHost;
  let verbs: Verbs;
  before(async () => {
    host = launcherTestHost();
    host.installHaltingImage("base");
    verbs = launcherVerbs(await openHost(host.config));
  });
  after(() => host?.close());

  /** A canary on the file system of `below`, so that a hard link to it can be made there. It has the identity drive's size. */
  const withCanary = async (below: string, owner: number, work: (canary: string) => Promise<void>) => {
    const directory = `${below}/canary`;
    mkdirSync(directory, { mode: 0o700 });
    writeFileSync(`${directory}/file`, canaryText, { mode: 0o600 });
    chownSync(`${directory}/file`, owner, owner);
    try {
      await work(`${directory}/file`);
      assert.equal(readFileSync(`${directory}/file`, "utf8"), canaryText);
      assert.equal(lstatSync(`${directory}/file`).uid, owner);
      assert.equal(lstatSync(`${directory}/file`).mode & 0o777, 0o600);
    } finally {
      rmSync(directory, { recursive: true });
    }
  };

  for (const [name, make] of Object.entries(objects)) {
    test(`prepare refuses ${name} where the jail or the disk belongs`, async () => {
      const { runDir, stateDir } = host.config;
      for (const [below, at] of [
        [runDir, `${runDir}/jails/${vmId}`],
        [stateDir, `${stateDir}/vms/${vmId}`],
      ] as const) {
        await withCanary(below, 0, async (canary) => {
          make(at, canary);
          await assert.rejects(verbs.prepare(preparation), { reason: "ALREADY_EXISTS" });
          assert.ok(lstatSync(at, { throwIfNoEntry: false }), "the refused object was removed");
          await verbs.remove({ vmId });
          assert.equal(lstatSync(at, { throwIfNoEntry: false }), undefined);
        });
      }
    });

    test(`emptyIdentityDrive refuses ${name} in the drive's place, and remove deletes no more than it`, async () => {
      const jail = `${host.config.runDir}/jails/${vmId}`;
      // With the drive's owner, too: only what kind of object it is tells it from the drive.
      await withCanary(host.config.runDir, host.config.uidBase, async (canary) => {
        await verbs.prepare(preparation);
        make(`${jail}/identity.img`, canary);
        await assert.rejects(verbs.emptyIdentityDrive({ vmId })).finally(() => verbs.remove({ vmId }));
        assert.ok(!existsSync(jail));
      });
    });
  }

  test("remove does not cross a mount", async () => {
    const place = `${host.config.runDir}/jails/${vmId}/run`;
    await verbs.prepare(preparation);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "canary", place]);
    try {
      writeFileSync(`${place}/kept`, "kept");
      await assert.rejects(verbs.remove({ vmId }), { reason: "HOST_UNSAFE" });
      assert.equal(readFileSync(`${place}/kept`, "utf8"), "kept");
      assert.equal((await verbs.list({})).vms.length, 1, "a VM that is not quite removed must stay listed");
    } finally {
      execFileSync("umount", [place]);
    }
    await verbs.remove({ vmId });
    assert.deepEqual(await verbs.list({}), { vms: [] });
  });

  test("prepare refuses a parent directory that others can write", async () => {
    for (const directory of [`${host.config.runDir}/jails`, `${host.config.stateDir}/vms`, host.config.imagesDir]) {
      const { mode } = lstatSync(directory);
      chmodSync(directory, 0o777);
      await assert.rejects(verbs.prepare(preparation), { reason: "HOST_UNSAFE" }, directory);
      chmodSync(directory, mode & 0o777);
    }
    assert.deepEqual(await verbs.list({}), { vms: [] });
  });

  test("prepare refuses an image file that is a link or that others can write", async () => {
    const file = `${host.config.imagesDir}/base/vmlinux`;
    chmodSync(file, 0o464);
    await assert.rejects(verbs.prepare(preparation), { reason: "HOST_UNSAFE" });
    chmodSync(file, 0o444);
    const content = readFileSync(file);
    unlinkSync(file);
    symlinkSync("/etc/hostname", file);
    await assert.rejects(verbs.prepare(preparation), { reason: "IMAGE_MISSING" });
    unlinkSync(file);
    writeFileSync(file, content);
    chmodSync(file, 0o444);
  });

  test("a prepared VM's files have the owners and modes of the layout", async () => {
    await verbs.prepare(preparation);
    const facts = (path: string) => {
      const { uid, gid, mode, nlink } = lstatSync(path);
      return { uid, gid, mode: mode & 0o7777, one: lstatSync(path).isDirectory() || nlink === 1 };
    };
    const { runDir, stateDir, uidBase } = host.config;
    assert.deepEqual(facts(`${stateDir}/vms/${vmId}`), { uid: 0, gid: 0, mode: 0o711, one: true });
    assert.deepEqual(facts(`${runDir}/jails/${vmId}`), { uid: 0, gid: 0, mode: 0o711, one: true });
    assert.deepEqual(facts(`${stateDir}/vms/${vmId}/overlay.ext4`), {
      uid: uidBase,
      gid: uidBase,
      mode: 0o600,
      one: true,
    });
    assert.ok(
      lstatSync(`${stateDir}/vms/${vmId}/overlay.ext4`).blocks * 512 < 16 * 1024 * 1024,
      "the overlay is not sparse",
    );
    await verbs.remove({ vmId });
  });

  test("a prepared VM's disk is an empty file system under its key, whatever its size, and the key is in no file", async () => {
    for (const overlayMib of [16, 64, 300]) {
      await verbs.prepare({ ...preparation, overlayMib });
      const directory = `${host.config.stateDir}/vms/${vmId}`;
      const disk = readFileSync(`${directory}/overlay.ext4`);
      assert.equal(disk.length, overlayMib * 1024 * 1024);
      // Cipher text has no long run of one byte, and an empty file system hardly anything else.
      assert.ok(!disk.subarray(0, 4096).includes(Buffer.alloc(8)));
      const opened = `${directory}/opened`;
      writeFileSync(opened, decryptSectors(testDiskKey, 0, disk));
      // What was never written opens as noise: a file system that counted on zeros there would not be clean.
      execFileSync("/usr/sbin/e2fsck", ["-f", "-n", opened], { stdio: "ignore" });
      assert.match(
        execFileSync("/usr/sbin/dumpe2fs", ["-h", opened], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
        /has_journal/,
      );
      rmSync(opened);
      assert.deepEqual(readdirSync(directory).sort(), ["overlay.ext4", "record.json"]);
      assert.ok(!readFileSync(`${directory}/record.json`, "utf8").includes("diskKey"));
      await verbs.remove({ vmId });
    }
  });
});
