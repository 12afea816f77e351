import assert from "node:assert/strict";
import { chownSync, existsSync, lstatSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { after, afterEach, before, beforeEach, suite, test } from "node:test";
import { testDiskKeyText } from "../vmm/testing-disk-key.ts";
import { vmPaths } from "./config.ts";
import { openHost } from "./main.ts";
import type { Verbs } from "./protocol.ts";
import { type LauncherTestHost, launcherTestHost } from "./testing.ts";
import { launcherVerbs } from "./verbs.ts";

const skip = process.getuid?.() === 0 ? false : "needs root";
const vmId = "0d".repeat(16);
const mib = 1024 * 1024;
const diskBytes = 64 * mib;
/** What is written in the middle of a disk that is otherwise zeros. */
const other = Buffer.alloc(diskBytes);
other.write("another disk", 33 * mib);

suite("a VM's disk, out and in", { skip }, () => {
  let host: LauncherTestHost;
  let verbs: Verbs;
  let paths: ReturnType<typeof vmPaths>;
  before(async () => {
    host = launcherTestHost();
    host.installHaltingImage("base");
    paths = vmPaths(host.config, vmId);
    verbs = launcherVerbs(await openHost(host.config));
  });
  after(() => host?.close());
  beforeEach(() => verbs.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKeyText }));
  afterEach(() => verbs.remove({ vmId }));

  const files = () => readdirSync(paths.disk).sort();
  const readWhole = async () => await buffer(await verbs.readDisk({ vmId }));
  const writeWhole = async (...pieces: readonly Buffer[]) => {
    const stream = await verbs.writeDisk({ vmId });
    const [answer] = await Promise.all([buffer(stream), pipeline(Readable.from(pieces), stream, { end: true })]);
    return answer.toString();
  };

  test("comes out as it was when the answer came, and its copy never has a name that stays", async () => {
    const stream = await verbs.readDisk({ vmId });
    assert.deepEqual(files(), ["overlay.ext4", "record.json"]);
    const before = readFileSync(paths.overlay);
    writeFileSync(paths.overlay, other);
    assert.ok((await buffer(stream)).equals(before));
    assert.ok((await readWhole()).equals(other));
  });

  test("a copy that an ended launcher left is gone with the next one, and with the next disk", async () => {
    writeFileSync(paths.overlayCopy, "left");
    await openHost(host.config);
    assert.ok(!existsSync(paths.overlayCopy));
    symlinkSync(paths.record, paths.overlayCopy);
    const record = readFileSync(paths.record);
    assert.ok((await readWhole()).equals(readFileSync(paths.overlay)));
    assert.deepEqual(files(), ["overlay.ext4", "record.json"]);
    assert.ok(readFileSync(paths.record).equals(record), "nothing is written through a link");
  });

  test("a new one is the jail uid's, keeps its holes, and takes the place when it is told to", async () => {
    const own = readFileSync(paths.overlay);
    assert.match(await writeWhole(other), /^\{"ok":true,"result":\{\}\}\n$/);
    assert.ok(readFileSync(paths.overlay).equals(own));
    await verbs.replaceDisk({ vmId });
    const { uid, gid, mode, size, blocks } = lstatSync(paths.overlay);
    assert.deepEqual([uid, gid, mode & 0o777, size], [host.config.uidBase, host.config.uidBase, 0o600, diskBytes]);
    assert.ok(blocks * 512 <= 2 * mib, `${blocks} blocks`);
    assert.ok(readFileSync(paths.overlay).equals(other));
    assert.deepEqual(files(), ["overlay.ext4", "record.json"]);
  });

  test("one that is short, long or cut off is gone, and is never put in place", async () => {
    const own = readFileSync(paths.overlay);
    await assert.rejects(writeWhole(other.subarray(1)), /too short/);
    await assert.rejects(writeWhole(other, Buffer.of(0)), /too long/);
    const cut = await verbs.writeDisk({ vmId });
    cut.write(other.subarray(0, mib));
    await assert.rejects(verbs.replaceDisk({ vmId }), { reason: "WRONG_STATE" });
    await new Promise<void>((resolve) => void cut.once("close", resolve).destroy());
    assert.deepEqual(files(), ["overlay.ext4", "record.json"]);
    await verbs.replaceDisk({ vmId });
    assert.ok(readFileSync(paths.overlay).equals(own));
  });

  test("a whole one that is not wanted any more goes with stop, and all goes with remove", async () => {
    await writeWhole(other);
    await verbs.stop({ vmId });
    assert.deepEqual(files(), ["overlay.ext4", "record.json"]);
    await writeWhole(other);
    writeFileSync(paths.overlayCopy, "left");
    await verbs.remove({ vmId });
    assert.ok(!existsSync(paths.disk));
    await verbs.prepare({ vmId, slot: 0, image: "base", overlayMib: 64, diskKey: testDiskKeyText });
  });

  test("what another one than the launcher left in its place is not put in place", async () => {
    writeFileSync(paths.nextOverlay, other, { mode: 0o600 });
    chownSync(paths.nextOverlay, host.config.uidBase + 1, host.config.uidBase + 1);
    await assert.rejects(verbs.replaceDisk({ vmId }), { reason: "WRONG_STATE" });
  });

  test("a VM that is not there has none", async () => {
    const unknown = { vmId: "0e".repeat(16) };
    for (const verb of ["readDisk", "writeDisk", "replaceDisk"] as const)
      await assert.rejects(verbs[verb](unknown), { reason: "NOT_FOUND" });
  });
});
