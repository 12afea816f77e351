import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, lstatSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { after, before, suite, test } from "node:test";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { openLauncherClient } from "../vmm/launcher-client.ts";
import { maxMessageBytes, type Verbs } from "./protocol.ts";
import { type LauncherServer, serve } from "./server.ts";

const skip = process.getuid?.() === 0 ? false : "needs root";
const channelPath = `/run/lobsterd-launcher-channel-${process.pid}.sock`;
const refuse = () => Promise.reject(new Error("a host path /var/lib/secret"));
const verbs: Verbs = {
  describe: async () => ({
    ...{ name: "none", version: "0", accelerator: "none", productionBoundary: false },
    ...{ reason: "a test", cores: 1, memoryMib: 1, overlayCapacityMib: 1, slotCount: 1 },
    memoryLimit: { perGuestMib: 1, besideMib: 0 },
    templates: { offered: false, count: 0 },
  }),
  list: async () => ({ vms: [] }),
  prepare: refuse,
  start: refuse,
  load: refuse,
  connect: async () => connect(channelPath),
  place: refuse,
  makeRoom: refuse,
  clearRoom: refuse,
  inspect: refuse,
  emptyIdentityDrive: refuse,
  readDisk: refuse,
  writeDisk: refuse,
  replaceDisk: refuse,
  stop: refuse,
  remove: refuse,
};

suite("the launcher's socket", { skip }, () => {
  const directory = mkdtempSync(`${tmpdir()}/lobsterd-launcher-socket-`);
  const path = `${directory}/launcher/launcher.sock`;
  const logger = createLogger({ service: "vm-launcher", level: "fatal" });
  let server: LauncherServer;
  before(async () => {
    chmodSync(directory, 0o755);
    server = await serve(path, 54_321, verbs, logger);
  });
  after(async () => {
    await server.close();
    rmSync(directory, { recursive: true });
  });

  /** What the launcher answers to `sent`; empty when it just closes. */
  const answer = (sent: string | undefined): Promise<string> =>
    new Promise((resolve) => {
      let text = "";
      const socket = connect(path, () => sent !== undefined && socket.write(sent));
      socket.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      socket.on("error", () => {}).on("close", () => resolve(text));
    });
  const list = `${JSON.stringify({ verb: "list", arguments: {} })}\n`;

  test("is open to its group only", () => {
    const [socket, parent] = [lstatSync(path), lstatSync(`${directory}/launcher`)];
    assert.deepEqual([socket.uid, socket.gid, socket.mode & 0o777], [0, 54_321, 0o660]);
    assert.deepEqual([parent.uid, parent.gid, parent.mode & 0o777], [0, 54_321, 0o750]);
  });

  test("answers one request a connection", async () => {
    assert.equal(await answer(list), '{"ok":true,"result":{"vms":[]}}\n');
    assert.equal(
      await answer(`${list}${list}`),
      '{"ok":false,"reason":"INVALID_REQUEST","message":"the request does not match the protocol"}\n',
    );
  });

  test("refuses what is not the protocol, and says nothing about the host", async () => {
    const vmId = "a".repeat(32);
    const bad = [
      "\n",
      "[]\n",
      '{"verb":"list"}\n',
      '{"verb":"constructor","arguments":{}}\n',
      '{"verb":"list","arguments":{"path":"/etc"}}\n',
      '{"verb":"list","arguments":{},"traceparent":"x"}\n',
      '{"verb":"remove","arguments":{"vmId":"../../../etc"}}\n',
      `{"verb":"remove","arguments":{"vmId":"${vmId}","uid":0}}\n`,
    ];
    for (const text of bad) assert.match(await answer(text), /"reason":"INVALID_REQUEST"/, text);
    const failed = await answer(`{"verb":"remove","arguments":{"vmId":"${vmId}"}}\n`);
    assert.match(failed, /"reason":"INTERNAL"/);
    assert.doesNotMatch(failed, /secret/);
  });

  test("drops a request that is too long or too slow", async () => {
    assert.equal(await answer("x".repeat(maxMessageBytes + 1)), "");
    const began = performance.now();
    assert.equal(await answer('{"verb":'), "");
    assert.ok(performance.now() - began < 8_000);
  });

  test("takes 64 exchanges at a time", async () => {
    const idle = await Promise.all(
      Array.from(
        { length: 64 },
        () =>
          new Promise<Socket>((resolve) => {
            const socket = connect(path, () => resolve(socket));
          }),
      ),
    );
    assert.equal(await answer(list), "");
    const closed = idle.map((socket) => new Promise((resolve) => socket.once("close", resolve)));
    for (const socket of idle) socket.destroy();
    await Promise.all(closed);
    assert.match(await answer(list), /"ok":true/);
  });

  test("a channel is the VMM's bytes both ways, counts as no exchange, and ends with either side", async () => {
    const peers: Socket[] = [];
    const vmm = createServer((socket) => void peers.push(socket.on("error", () => {})));
    await new Promise<void>((resolve) => void vmm.listen(channelPath, resolve));
    try {
      const client = openLauncherClient({ socketPath: path });
      const open = await Promise.all(Array.from({ length: 80 }, () => client.connect("a".repeat(32), "api")));
      const [first] = open;
      assert.ok(first);
      // Much more than any buffer on the way: neither side may be read faster than the other takes it.
      const sent = Buffer.alloc(4 * 1024 * 1024, "0123456789\n");
      for (const peer of peers) peer.pipe(peer);
      const returned: Buffer[] = [];
      first.on("data", (chunk: Buffer) => void returned.push(chunk));
      first.end(sent);
      await once(first, "close");
      assert.ok(Buffer.concat(returned).equals(sent), `${Buffer.concat(returned).length} bytes came back`);
      assert.match(await answer(list), /"ok":true/);
      const others = open.slice(1).map((channel) => once(channel, "close"));
      for (const peer of peers) peer.destroy();
      await Promise.all(others);
    } finally {
      await new Promise((resolve) => vmm.close(resolve));
      rmSync(channelPath, { force: true });
    }
  });

  test("is not taken from a launcher that serves it", async () => {
    await assert.rejects(serve(path, 54_321, verbs, logger), /another launcher/);
    assert.match(await answer(list), /"ok":true/);
  });
});
