import assert from "node:assert/strict";
import { once } from "node:events";
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import type { Duplex } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, suite, test } from "node:test";
import { openChannels } from "./channels.ts";

const skip = process.getuid?.() === 0 ? false : "needs root";
const uid = 910_123_456;
const vmId = "0c".repeat(16);
const place = { name: "state.sock", kind: "listener" } as const;

suite("a socket on which the launcher waits for a VMM", { skip }, () => {
  let base: string;
  let directory: string;
  let open: (at?: string) => Promise<Duplex>;
  beforeEach(() => {
    base = mkdtempSync(`${tmpdir()}/lobsterd-channels-`);
    directory = `${base}/run`;
    mkdirSync(directory, { mode: 0o700 });
    chownSync(directory, uid, uid);
    const channel = openChannels();
    open = (at = directory) => channel(vmId, at, place, uid);
  });
  afterEach(() => rmSync(base, { recursive: true }));

  const descriptors = () => readdirSync("/proc/self/fd").length;

  test("is the VMM's, takes one connection whose bytes all come out, and is gone then", async () => {
    const channel = await open();
    assert.equal(channel.writable, false);
    assert.equal(statSync(`${directory}/state.sock`).uid, uid);
    const sent = Buffer.alloc(3_000_000, "state");
    const sender = connect(`${directory}/state.sock`);
    sender.end(sent);
    assert.ok((await buffer(channel)).equals(sent));
    assert.ok(!existsSync(`${directory}/state.sock`));
    await once(connect(`${directory}/state.sock`), "error");
  });

  test("is gone with its channel, and can be made again", async () => {
    const first = await open();
    await assert.rejects(open(), { reason: "CHANNEL_BUSY" });
    first.destroy();
    await once(first, "close");
    const before = descriptors();
    for (let round = 0; round < 10; round += 1) {
      const channel = await open();
      assert.ok(existsSync(`${directory}/state.sock`));
      channel.destroy();
      await once(channel, "close");
      assert.ok(!existsSync(`${directory}/state.sock`));
    }
    assert.ok(descriptors() <= before, `${before} descriptors became ${descriptors()}`);
  });

  test("is not made through what the VMM put there instead", async () => {
    const canary = `${base}/canary`;
    writeFileSync(canary, "untouched", { mode: 0o600 });
    symlinkSync(canary, `${directory}/state.sock`);
    const channel = await open();
    assert.ok(lstatSync(`${directory}/state.sock`).isSocket());
    channel.destroy();
    await once(channel, "close");
    mkdirSync(`${directory}/state.sock`);
    await assert.rejects(open(), { reason: "HOST_UNSAFE" });
    symlinkSync(directory, `${base}/link`);
    await assert.rejects(open(`${base}/link`), { reason: "HOST_UNSAFE" });
    const { uid: owner, mode } = statSync(canary);
    assert.deepEqual([owner, mode & 0o777, readFileSync(canary, "utf8")], [0, 0o600, "untouched"]);
  });
});
