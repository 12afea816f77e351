import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, describe, it } from "node:test";
import { cannotRun } from "../testing/ground.ts";
import { makeScratch, type Scratch } from "../testing/scratch.ts";
import { countConnections, deleteConnection, deleteConnections, deleteListed, dumpConnections } from "./conntrack.ts";
import { loadLibc } from "./libc.ts";
import { readRules } from "./nft-rules.ts";
import { destroySockets } from "./sock-diag.ts";
import { type NetlinkSocket, openNetlink, protocols } from "./socket.ts";

const table = `table inet lobsterd {
  chain OUT {
    type filter hook output priority 0
    ct state invalid counter drop comment "invalid"
    udp dport 9 counter packets 5 bytes 700 accept comment "discard"
    accept
  }
}
`;

/** Holds a TCP and a UDP socket connected to 127.0.0.2, and a TCP socket to 127.0.0.3; says which one fails. */
const holder = `
const net = require("node:net"), dgram = require("node:dgram");
const server = net.createServer((socket) => socket.on("error", () => {})).listen(7777, "::", async () => {
  const opened = ["127.0.0.2", "127.0.0.3", "::ffff:127.0.0.2"].map((host) => new Promise((resolve) => {
    const socket = net.connect({ host, port: 7777, family: host.includes(":") ? 6 : 4 }, resolve);
    socket.on("error", (error) => console.log(host + " " + error.code));
  }));
  const udp = dgram.createSocket("udp4");
  udp.on("error", () => {});
  await new Promise((resolve) => udp.connect(9, "127.0.0.2", resolve));
  await Promise.all(opened);
  console.log("ready");
});
`;

describe("flows", { skip: cannotRun }, () => {
  let scratch: Scratch;
  let socket: NetlinkSocket;

  before(async () => {
    scratch = await makeScratch();
    socket = openNetlink(loadLibc(), protocols.netfilter, scratch.path);
    await scratch.runner.run(["ip", "link", "set", "lo", "up"]);
    await scratch.runner.run(["nft", "-f", "-"], { input: table });
  });
  after(async () => {
    socket.close();
    await scratch[Symbol.asyncDispose]();
  });

  async function send(...addresses: readonly string[]): Promise<void> {
    await scratch.runner.run(["conntrack", "-F"]);
    for (const address of addresses) await scratch.runner.run(["bash", "-c", `echo > /dev/udp/${address}/9`]);
  }
  async function destinations(): Promise<string[]> {
    const text = await scratch.runner.run(["conntrack", "-L"]);
    return [...text.matchAll(/^udp .*? dst=(\S+) .*dst=/gm)].map(([, address]) => address ?? "").sort();
  }

  it("are listed and counted as conntrack does", async () => {
    await send("127.0.0.2", "127.0.0.3");
    const connections = dumpConnections(socket);
    assert.deepEqual(connections.map(({ original }) => original.destination).sort(), await destinations());
    assert.equal(countConnections(socket), 2);
    const [one] = dumpConnections(socket, { destination: "127.0.0.3" });
    const port = one?.original.sourcePort ?? 0;
    assert.ok(port > 0);
    assert.deepEqual(one?.original, {
      protocol: 17,
      source: "127.0.0.1",
      destination: "127.0.0.3",
      sourcePort: port,
      destinationPort: 9,
    });
    assert.deepEqual(one?.reply, {
      protocol: 17,
      source: "127.0.0.3",
      destination: "127.0.0.1",
      sourcePort: 9,
      destinationPort: port,
    });
    assert.equal(dumpConnections(socket, { source: "127.0.0.1" }).length, 2);
    assert.deepEqual(dumpConnections(socket, { source: "127.0.0.3" }), []);
  });

  for (const [name, forget] of Object.entries({ "by address": deleteConnections, "one by one": deleteListed })) {
    it(`are forgotten ${name}, and no others`, async () => {
      await send("127.0.0.2", "127.0.0.3", "127.0.0.3");
      forget(socket, { destination: "127.0.0.3" });
      assert.deepEqual(await destinations(), ["127.0.0.2"]);
      forget(socket, { destination: "127.0.0.3" });
      forget(socket, { source: "127.0.0.9" });
      assert.deepEqual(await destinations(), ["127.0.0.2"]);
      forget(socket, { source: "127.0.0.1" });
      assert.equal(countConnections(socket), 0);
    });
  }

  it("are forgotten one at a time", async () => {
    await send("127.0.0.2", "127.0.0.3");
    const [one] = dumpConnections(socket, { destination: "127.0.0.2" });
    assert.ok(one !== undefined);
    assert.equal(deleteConnection(socket, one), true);
    assert.equal(deleteConnection(socket, one), false);
    assert.deepEqual(await destinations(), ["127.0.0.3"]);
  });

  it("are counted by rules, which are read with their comments", async () => {
    const rules = readRules(socket, "inet", "lobsterd");
    assert.deepEqual(
      rules.map(({ chain, comment }) => [chain, comment]),
      [
        ["OUT", "invalid"],
        ["OUT", "discard"],
        ["OUT", undefined],
      ],
    );
    assert.deepEqual(rules[0]?.counter, { packets: 0n, bytes: 0n });
    const listed = await scratch.runner.run(["nft", "list", "table", "inet", "lobsterd"]);
    const counter = rules[1]?.counter;
    assert.ok(listed.includes(`counter packets ${counter?.packets} bytes ${counter?.bytes} accept comment "discard"`));
    assert.equal(rules[2]?.counter, undefined);
    assert.deepEqual(readRules(socket, "arp", "lobsterd"), []);
  });

  it("of the host's own sockets end with an error, and no others do", async () => {
    using diagnosis = openNetlink(loadLibc(), protocols.sockDiag, scratch.path);
    const child = spawn("nsenter", [`--net=${scratch.path}`, "--", process.execPath, "-e", holder], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exit = once(child, "exit");
    try {
      const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
      assert.equal((await lines.next()).value, "ready");
      // UDP, TCP, and TCP on a socket of IPv6. Which ends of the connections within one namespace count is ss's judgement.
      const seen = await scratch.runner.run(["ss", "-H", "-tuna", "dst", "127.0.0.2"]);
      assert.equal(destroySockets(diagnosis, "127.0.0.2"), seen.trim().split("\n").length);
      const failed = [(await lines.next()).value, (await lines.next()).value].sort();
      assert.deepEqual(failed, ["127.0.0.2 ECONNABORTED", "::ffff:127.0.0.2 ECONNABORTED"]);
      assert.equal(destroySockets(diagnosis, "127.0.0.2"), 0);
      assert.match(await scratch.runner.run(["ss", "-H", "-tn", "dst", "127.0.0.3"]), /ESTAB/);
    } finally {
      child.kill("SIGKILL");
      await exit;
    }
  });
});
