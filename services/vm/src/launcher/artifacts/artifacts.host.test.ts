import assert from "node:assert/strict";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { afterEach, beforeEach, suite, test } from "node:test";
import { testDiskKeyText } from "../../vmm/testing-disk-key.ts";
import type { LauncherConfig } from "../config.ts";
import type { LauncherHost } from "../host.ts";
import { openHost } from "../main.ts";
import { buildVmmTree } from "../qemu/vmm-tree.ts";
import { type LauncherTestHost, launcherTestHost } from "../testing.ts";
import { launcherVerbs } from "../verbs.ts";
import { type Artifacts, openArtifacts } from "./artifacts.ts";
import { createFileDigests } from "./file-digests.ts";

const skip = process.getuid?.() === 0 ? false : "needs root";
const mismatch = { reason: "ARTIFACT_MISMATCH" };

/** The modification time of what is compared, so that it can be put back exactly. */
const modifiedSeconds = 1;

/** Writes one other byte in the middle, in place, and puts the modification time back: only the change time tells. */
function flipByte(path: string): void {
  const { length } = readFileSync(path);
  const byte = Buffer.alloc(1);
  const descriptor = openSync(path, "r+");
  try {
    readSync(descriptor, byte, 0, 1, length >> 1);
    byte[0] = (byte[0] ?? 0) ^ 1;
    writeSync(descriptor, byte, 0, 1, length >> 1);
  } finally {
    closeSync(descriptor);
  }
  utimesSync(path, modifiedSeconds, modifiedSeconds);
}

/** Bytes that this process has read from files until now. */
const bytesRead = () => Number(/^rchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1]);

suite("digests of files", { skip }, () => {
  let directory: string;
  let path: string;
  const size = 8 * 1024 * 1024;
  beforeEach(() => {
    directory = mkdtempSync("/var/lib/lobsterd-digest-test-");
    path = `${directory}/file`;
    writeFileSync(path, "", { mode: 0o444 });
    truncateSync(path, size);
    utimesSync(path, modifiedSeconds, modifiedSeconds);
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const later = () => Date.now() + 1000;

  test("an unchanged file is read once, and again after one byte changed", async () => {
    const digests = createFileDigests(later);
    const first = await digests.of(path);
    const before = bytesRead();
    assert.equal(await digests.of(path), first);
    assert.ok(bytesRead() - before < size / 8, "it was read again");
    flipByte(path);
    assert.notEqual(await digests.of(path), first);
  });

  test("a file that was written within the last step of its times is read again", async () => {
    const digests = createFileDigests(() => 0);
    await digests.of(path);
    const before = bytesRead();
    await digests.of(path);
    assert.ok(bytesRead() - before >= size);
  });

  test("only so many files are remembered: the one that was read first is read again", async () => {
    const digests = createFileDigests(later, 1);
    await digests.of(path);
    writeFileSync(`${directory}/other`, "x", { mode: 0o444 });
    await digests.of(`${directory}/other`);
    const before = bytesRead();
    await digests.of(path);
    assert.ok(bytesRead() - before >= size);
  });

  test("a file that is written to while it is read is refused", async () => {
    const writing = createFileDigests(() => {
      appendFileSync(path, "x");
      return later();
    });
    await assert.rejects(writing.of(path), mismatch);
  });

  test("calls at the same time share one reading", async () => {
    const digests = createFileDigests(later);
    const before = bytesRead();
    await Promise.all([digests.of(path), digests.of(path), digests.of(path)]);
    assert.ok(bytesRead() - before < 2 * size);
  });

  const doubtful: Record<string, (file: string) => void> = {
    "that another user owns": (file) => chownSync(file, 65_534, 0),
    "that a group may write": (file) => chmodSync(file, 0o464),
    "that has a second name": (file) => linkSync(file, `${file}.link`),
    "that is a symbolic link": (file) => {
      renameSync(file, `${file}.target`);
      symlinkSync(`${file}.target`, file);
    },
    "that is a directory": (file) => {
      rmSync(file);
      mkdirSync(file);
    },
  };
  for (const [name, make] of Object.entries(doubtful)) {
    test(`a file ${name} is refused`, async () => {
      const digests = createFileDigests(later);
      await digests.of(path);
      make(path);
      await assert.rejects(digests.of(path), mismatch);
    });
  }
});

/** The one tree that a launcher which has started keeps. */
const treeOf = ({ stateDir }: LauncherConfig) => `${stateDir}/vmm/${readdirSync(`${stateDir}/vmm`).join()}`;

suite("a start", { skip }, () => {
  const vmId = "0a".repeat(16);
  const request = {
    ...{ vmId, slot: 0, image: "base", vcpuCount: 1, memoryMib: 64 },
    generation: 1,
    identityDrive: Buffer.from("{}").toString("base64"),
  };
  const parts: Record<string, (opened: LauncherHost) => Promise<string>> = {
    kernel: async ({ artifacts }) => `${await artifacts.image("base")}/vmlinux`,
    "root file system": async ({ artifacts }) => `${await artifacts.image("base")}/rootfs.erofs`,
    "VMM program": async ({ config }) => `${treeOf(config)}/bin/qemu-system-x86_64`,
    "shared object of the VMM": async ({ config }) => `${treeOf(config)}/lib/x86_64-linux-gnu/libc.so.6`,
  };
  for (const [name, find] of Object.entries(parts)) {
    test(`with a ${name} that has one other byte is refused before anything runs`, async () => {
      const host = launcherTestHost();
      try {
        host.installHaltingImage("base");
        host.addSlot(0);
        const opened = await openHost(host.config);
        const verbs = launcherVerbs(opened);
        await verbs.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKeyText });
        flipByte(await find(opened));
        await assert.rejects(verbs.start(request), mismatch);
        assert.deepEqual(await verbs.list({}), { vms: [{ vmId, slot: 0, state: "prepared" }] });
        await verbs.remove({ vmId });
      } finally {
        host.close();
      }
    });
  }
});

suite("what a guest is started from", { skip }, () => {
  let host: LauncherTestHost;
  let artifacts: Artifacts;
  beforeEach(() => {
    host = launcherTestHost();
    host.installHaltingImage("base");
    artifacts = openArtifacts(host.config);
  });
  afterEach(() => host.close());
  const store = () => `${host.config.stateDir}/artifacts/images`;
  const installed = (name: string) => `${host.config.imagesDir}/base/${name}`;

  for (const name of ["vmlinux", "initrd.cpio", "rootfs.erofs"]) {
    test(`an image whose ${name} has one other byte is refused, and nothing of it is kept`, async () => {
      flipByte(installed(name));
      await assert.rejects(artifacts.image("base"), mismatch);
      assert.deepEqual(readdirSync(store()), []);
    });

    test(`a copy whose ${name} changes by one byte after it was verified is refused`, async () => {
      const directory = await artifacts.image("base");
      flipByte(`${directory}/${name}`);
      await assert.rejects(artifacts.image("base"), mismatch);
    });

    test(`an installed ${name} that is replaced or written to after the check is not what is used`, async () => {
      const directory = await artifacts.image("base");
      const verified = readFileSync(`${directory}/${name}`);
      flipByte(installed(name));
      writeFileSync(installed("other"), "another file");
      renameSync(installed("other"), installed(name));
      assert.equal(await artifacts.image("base"), directory);
      assert.deepEqual(readFileSync(`${directory}/${name}`), verified);
    });
  }

  test("a launcher that starts again does not trust a copy that changed meanwhile", async () => {
    const directory = await artifacts.image("base");
    flipByte(`${directory}/vmlinux`);
    await assert.rejects(openArtifacts(host.config).image("base"), mismatch);
  });

  test("a new image of the same name gets a copy of its own, and the old one goes when the launcher starts again", async () => {
    const before = await artifacts.image("base");
    const manifest = JSON.parse(readFileSync(installed("manifest.json"), "utf8"));
    const other = "0".repeat(64);
    chmodSync(installed("manifest.json"), 0o644);
    writeFileSync(installed("manifest.json"), JSON.stringify({ sha256: { ...manifest.sha256, vmlinux: other } }));
    await assert.rejects(artifacts.image("base"), mismatch);
    writeFileSync(installed("manifest.json"), JSON.stringify(manifest));
    assert.equal(await artifacts.image("base"), before);
    rmSync(`${host.config.imagesDir}/base`, { recursive: true });
    openArtifacts(host.config);
    assert.deepEqual(readdirSync(store()), []);
  });

  test("an image without a manifest is missing, and one without digests is refused", async () => {
    rmSync(installed("manifest.json"));
    await assert.rejects(artifacts.image("base"), { reason: "IMAGE_MISSING" });
    writeFileSync(installed("manifest.json"), '{"sha256":{"vmlinux":""}}');
    await assert.rejects(artifacts.image("base"), mismatch);
    writeFileSync(installed("manifest.json"), " ".repeat(70_000));
    await assert.rejects(artifacts.image("base"), mismatch);
  });

  test("files that are checked where they are must be there, known, and as known", async () => {
    const image = { vmlinux: installed("vmlinux"), "rootfs.erofs": installed("rootfs.erofs") };
    await artifacts.verifyFiles("base", image);
    const odd = { ...image, other: installed("vmlinux") };
    const gone = { ...image, "initrd.cpio": installed("none") };
    const swapped = { ...image, vmlinux: installed("rootfs.erofs") };
    const unlocked = { ...image, firecracker: installed("vmlinux") };
    for (const files of [odd, gone, swapped, unlocked])
      await assert.rejects(artifacts.verifyFiles("base", files), mismatch);
    flipByte(installed("vmlinux"));
    await assert.rejects(artifacts.verifyFiles("base", image), mismatch);
  });

  const changes: Record<string, (tree: string) => void> = {
    "whose program has one other byte": (tree) => flipByte(`${tree}/bin/qemu-system-x86_64`),
    "with one more file": (tree) => writeFileSync(`${tree}/bin/more`, ""),
    "with one file less": (tree) => rmSync(`${tree}/share/qemu/pvh.bin`),
    "with a link in it": (tree) => symlinkSync("/etc", `${tree}/etc`),
  };
  for (const [name, change] of Object.entries(changes)) {
    test(`a VMM's tree ${name} is refused`, async () => {
      const tree = await buildVmmTree(host.config, artifacts.digests);
      await artifacts.requireTree(tree);
      change(tree);
      await assert.rejects(artifacts.requireTree(tree), mismatch);
    });
  }
});
