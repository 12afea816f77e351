import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { cannotRun } from "../testing/ground.ts";
import { makeScratch, type Scratch } from "../testing/scratch.ts";
import { loadLibc } from "./libc.ts";
import type { ElementName } from "./nft-element.ts";
import type { Limit } from "./nft-expression.ts";
import type { Key } from "./nft-key.ts";
import {
  changeElements,
  type ElementChange,
  readElement,
  readElements,
  readElementsByName,
  readGeneration,
} from "./nftables.ts";
import { isRefusal, type NetlinkSocket, openNetlink, protocols } from "./socket.ts";

const table = `table inet lobsterd {
  set sending { type ifname; size 64; limit rate 1000/second burst 100 packets; }
  set guests { type ifname . ether_addr . ipv4_addr; size 64; counter; }
  set egress { type ifname . ipv4_addr . inet_proto . inet_service; flags interval; size 4096; }
  set drops { type ifname . mark; size 1024; flags dynamic; counter; }
  set small { type ifname; size 2; }
  set hardware { type ether_addr; }
  set ports { type inet_service; }
  set denied { type ipv4_addr; flags interval; }
  chain output {
    type filter hook output priority 0
    oifname "lo" update @drops { oifname . meta mark }
  }
}
`;

const link = (slot: number): Key[number] => ({ type: "ifname", value: `lob-${slot}` });
const ipv4 = (value: string): Key[number] => ({ type: "ipv4_addr", value });
const guest = (slot: number): Key => [
  link(slot),
  { type: "ether_addr", value: `06:00:0a:c9:00:${slot.toString(16).padStart(2, "0")}` },
  ipv4(`10.201.0.${slot}`),
];
const egress = (slot: number, address: string, protocol: number, port: number): Key => [
  link(slot),
  ipv4(address),
  { type: "inet_proto", value: protocol },
  { type: "inet_service", value: port },
];
/** nft cannot read an element without an end where it expects ranges. */
const point = (slot: number, address: string, protocol: number, port: number): ElementName => {
  const key = egress(slot, address, protocol, port);
  return { set: "egress", key, keyEnd: key };
};
const add = (set: string, key: Key, limit?: Limit): ElementChange => ({
  kind: "add",
  element: { set, key, ...(limit === undefined ? {} : { limit }) },
});
const remove = (set: string, key: Key): ElementChange => ({ kind: "delete", element: { set, key } });

describe("elements of nftables sets", { skip: cannotRun }, () => {
  let scratch: Scratch;
  let socket: NetlinkSocket;

  before(async () => {
    scratch = await makeScratch();
    socket = openNetlink(loadLibc(), protocols.netfilter, scratch.path);
  });
  after(async () => {
    socket.close();
    await scratch[Symbol.asyncDispose]();
  });

  const nft = async (text: string): Promise<string> => await scratch.runner.run(["nft", "-f", "-"], { input: text });
  const fresh = async (): Promise<unknown> => await nft(`table inet lobsterd\ndelete table inet lobsterd\n${table}`);
  /** The elements that nft lists, in its words. */
  async function listed(set: string, ...options: string[]): Promise<string[]> {
    const text = await scratch.runner.run(["nft", ...options, "list", "set", "inet", "lobsterd", set]);
    const elements = /elements = \{([^}]*)\}/.exec(text)?.[1] ?? "";
    return elements
      .split(",")
      .map((element) => element.trim().replaceAll(/\s+/g, " "))
      .filter((element) => element !== "");
  }

  it("are what nft lists once they are added", async () => {
    await fresh();
    changeElements(socket, [
      add("sending", [link(1)], { ratePerSecond: 500, burst: 50 }),
      add("sending", [link(2)]),
      add("guests", guest(3)),
      add("drops", [link(1), { type: "mark", value: 0x01020304 }]),
      add("hardware", [{ type: "ether_addr", value: "06:00:0a:c9:00:03" }]),
      add("ports", [{ type: "inet_service", value: 8080 }]),
      { kind: "add", element: point(1, "8.8.8.8", 17, 53) },
      {
        kind: "add",
        element: {
          set: "egress",
          key: egress(1, "9.0.0.0", 6, 80),
          keyEnd: egress(1, "9.1.2.3", 6, 443),
        },
      },
    ]);
    assert.deepEqual((await listed("sending", "-s")).sort(), [
      '"lob-1" limit rate 500/second burst 50 packets',
      '"lob-2" limit rate 1000/second burst 100 packets',
    ]);
    assert.deepEqual(await listed("guests"), ['"lob-3" . 06:00:0a:c9:00:03 . 10.201.0.3 counter packets 0 bytes 0']);
    assert.deepEqual(await listed("drops", "-s"), ['"lob-1" . 0x01020304 counter']);
    assert.deepEqual(await listed("hardware"), ["06:00:0a:c9:00:03"]);
    assert.deepEqual(await listed("ports"), ["8080"]);
    assert.deepEqual((await listed("egress")).sort(), [
      '"lob-1" . 8.8.8.8 . udp . 53',
      '"lob-1" . 9.0.0.0-9.1.2.3 . tcp . 80-443',
    ]);
  });

  it("are read as nft added them", async () => {
    await fresh();
    await nft(`add element inet lobsterd sending { "lob-1" limit rate 77/second burst 7 packets }
      add element inet lobsterd guests { "lob-3" . 06:00:0a:c9:00:03 . 10.201.0.3 counter packets 5 bytes 700 }
      add element inet lobsterd egress { "lob-1" . 1.2.0.0/22 . tcp . 80-90, "lob-1" . 8.8.8.8 . udp . 53 }
      add element inet lobsterd denied { 10.0.0.0/8, 1.2.3.4, 224.0.0.0/3 }
    `);
    const plain = { others: [] };
    assert.deepEqual(readElements(socket, "sending"), [
      { key: [link(1)], limit: { ratePerSecond: 77, burst: 7 }, ...plain },
    ]);
    assert.deepEqual(readElements(socket, "guests"), [
      { key: guest(3), counter: { packets: 5n, bytes: 700n }, ...plain },
    ]);
    assert.deepEqual(
      readElements(socket, "egress").sort((a, b) => (JSON.stringify(a.key) < JSON.stringify(b.key) ? -1 : 1)),
      [
        { key: egress(1, "1.2.0.0", 6, 80), keyEnd: egress(1, "1.2.3.255", 6, 90), ...plain },
        { key: egress(1, "8.8.8.8", 17, 53), keyEnd: egress(1, "8.8.8.8", 17, 53), ...plain },
      ],
    );
    assert.deepEqual(readElements(socket, "denied"), [
      { key: [ipv4("1.2.3.4")], keyEnd: [ipv4("1.2.3.4")], ...plain },
      { key: [ipv4("10.0.0.0")], keyEnd: [ipv4("10.255.255.255")], ...plain },
      { key: [ipv4("224.0.0.0")], keyEnd: [ipv4("255.255.255.255")], ...plain },
    ]);
    assert.deepEqual(readElements(socket, "small"), []);
  });

  it("of another limit than one of packets a second are told apart", async () => {
    await fresh();
    await nft(`add set inet lobsterd odd { type ifname; limit rate 5/minute; }
      add element inet lobsterd odd { "lob-1" limit rate 5/minute }
      add set inet lobsterd over { type ifname; limit rate over 5/second; }
      add element inet lobsterd over { "lob-1" limit rate over 5/second }
      add set inet lobsterd bytes { type ifname; limit rate 5 kbytes/second burst 9 kbytes; }
      add element inet lobsterd bytes { "lob-1" limit rate 5 kbytes/second burst 9 kbytes }
    `);
    for (const set of ["odd", "over", "bytes"])
      assert.deepEqual(readElements(socket, set), [{ key: [link(1)], others: ["limit"] }], set);
  });

  it("can be added, deleted and replaced again, whatever limit is there", async () => {
    await fresh();
    const own = { ratePerSecond: 500, burst: 50 };
    const other = { ratePerSecond: 9, burst: 9 };
    changeElements(socket, [add("sending", [link(1)], own)]);
    changeElements(socket, [add("sending", [link(1)], other), add("sending", [link(1)])]);
    assert.deepEqual(readElement(socket, { set: "sending", key: [link(1)] })?.limit, own);
    const replace = (slot: number): ElementChange => ({
      kind: "replace",
      element: { set: "sending", key: [link(slot)], limit: other },
    });
    changeElements(socket, [replace(1), replace(2)]);
    assert.deepEqual(
      readElements(socket, "sending").map(({ limit }) => limit),
      [other, other],
    );
    changeElements(socket, [remove("sending", [link(1)]), remove("sending", [link(3)])]);
    changeElements(socket, [remove("sending", [link(1)])]);
    assert.deepEqual(await listed("sending", "-s"), ['"lob-2" limit rate 9/second burst 9 packets']);
  });

  it("of ranges can be deleted, and replaced by ones that overlap, in one transaction", async () => {
    await fresh();
    const range = { set: "egress", key: egress(1, "9.0.0.0", 6, 80), keyEnd: egress(1, "9.1.2.3", 6, 443) };
    const wider = { ...range, keyEnd: egress(1, "9.255.255.255", 6, 443) };
    changeElements(socket, [{ kind: "add", element: range }]);
    changeElements(socket, [{ kind: "add", element: range }]);
    assert.throws(
      () => changeElements(socket, [{ kind: "add", element: wider }]),
      (error) => isRefusal(error, "EEXIST"),
    );
    changeElements(socket, [
      { kind: "delete", element: range },
      { kind: "add", element: wider },
    ]);
    assert.deepEqual(await listed("egress"), ['"lob-1" . 9.0.0.0/8 . tcp . 80-443']);
    changeElements(socket, [{ kind: "replace", element: wider }]);
    assert.deepEqual(await listed("egress"), ['"lob-1" . 9.0.0.0/8 . tcp . 80-443']);
    changeElements(socket, [
      { kind: "delete", element: wider },
      { kind: "delete", element: point(7, "1.1.1.1", 6, 1) },
    ]);
    assert.deepEqual(await listed("egress"), []);
  });

  it("are changed all or not at all", async () => {
    await fresh();
    const generation = readGeneration(socket);
    const refused = (changes: readonly ElementChange[], code: string, index: number): void =>
      assert.throws(
        () => changeElements(socket, changes),
        (error) => isRefusal(error, code) && error.index === index,
      );
    refused([add("guests", guest(1)), add("nowhere", [link(1)]), add("guests", guest(2))], "ENOENT", 1);
    refused([add("nowhere", [link(1)]), add("guests", guest(2))], "ENOENT", 0);
    refused([add("guests", guest(1)), add("guests", [link(1)])], "EINVAL", 1);
    refused(
      [1, 2, 3].map((slot) => add("small", [link(slot)])),
      "ENFILE",
      2,
    );
    refused([add("guests", guest(1)), add("guests", guest(2), { ratePerSecond: 1, burst: 1 })], "EOPNOTSUPP", 1);
    assert.deepEqual(await listed("guests"), []);
    assert.deepEqual(await listed("small"), []);
    assert.equal(readGeneration(socket), generation);
    changeElements(socket, [add("guests", guest(1))]);
    assert.equal(readGeneration(socket), generation + 1);
  });

  it("of one set are deleted whether they are there or not, and twice in one transaction", async () => {
    await fresh();
    const counters = [1, 2, 3, 4].map((mark): Key => [link(1), { type: "mark", value: mark }]);
    changeElements(
      socket,
      [0, 2].map((at) => add("drops", counters[at] ?? [])),
    );
    changeElements(socket, [
      add("guests", guest(1)),
      ...[...counters, ...counters].map((key) => remove("drops", key)),
      remove("sending", [link(1)]),
    ]);
    assert.deepEqual([await listed("drops"), (await listed("guests")).length], [[], 1]);
  });

  it("can be a thousand in one transaction", async () => {
    await fresh();
    await nft("add set inet lobsterd many { type ifname; size 20000; }");
    const slots = Array.from({ length: 5000 }, (_, slot) => slot);
    changeElements(
      socket,
      slots.map((slot) => add("many", [link(slot)])),
    );
    assert.equal(readElements(socket, "many").length, 5000);
    const names = slots.map((slot) => ({ set: "many", key: [link(2 * slot)] }));
    assert.equal(readElementsByName(socket, names).filter((element) => element !== undefined).length, 2500);
    changeElements(
      socket,
      slots.map((slot) => remove("many", [link(slot)])),
    );
    assert.deepEqual(readElements(socket, "many"), []);
  });

  it("are found by key and range, and absent otherwise", async () => {
    await fresh();
    const range = { set: "egress", key: egress(1, "9.0.0.0", 6, 80), keyEnd: egress(1, "9.1.2.3", 6, 443) };
    changeElements(socket, [{ kind: "add", element: range }, add("guests", guest(1))]);
    const found = readElementsByName(socket, [
      { set: "guests", key: guest(1) },
      { set: "guests", key: guest(2) },
      range,
      { set: "egress", key: egress(1, "9.0.0.0", 6, 80) },
      { ...range, keyEnd: egress(1, "9.1.2.4", 6, 443) },
      { set: "egress", key: egress(2, "9.0.0.0", 6, 80) },
    ]);
    assert.deepEqual(
      found.map((element) => element !== undefined),
      [true, false, true, false, false, false],
    );
    assert.throws(
      () => readElement(socket, { set: "nowhere", key: [link(1)] }),
      (error) => isRefusal(error, "ENOENT"),
    );
    assert.throws(
      () => readElements(socket, "nowhere"),
      (error) => isRefusal(error, "ENOENT"),
    );
  });

  it("that the kernel made by itself carry what it counted", async () => {
    await fresh();
    await scratch.runner.run(["ip", "link", "set", "lo", "up"]);
    await scratch.runner.run(["bash", "-c", "echo > /dev/udp/127.0.0.1/9"]);
    const key: Key = [
      { type: "ifname", value: "lo" },
      { type: "mark", value: 0 },
    ];
    const counter = readElement(socket, { set: "drops", key })?.counter;
    assert.ok(counter !== undefined && counter.packets >= 1n && counter.bytes >= 29n);
  });
});

describe("a socket in another namespace", { skip: cannotRun }, () => {
  it("acts there, while everything else stays where it was", async () => {
    await using one = await makeScratch();
    await using other = await makeScratch();
    await one.runner.run(["nft", "add table inet lobsterd; add set inet lobsterd names { type ifname; }"]);
    const libc = loadLibc();
    const home = openNetlink(libc, protocols.netfilter);
    const before = readGeneration(home);
    home.close();
    for (let round = 0; round < 3; round += 1) {
      using socket = openNetlink(libc, protocols.netfilter, one.path);
      changeElements(socket, [add("names", [link(round)])]);
      using elsewhere = openNetlink(libc, protocols.netfilter, other.path);
      assert.throws(() => changeElements(elsewhere, [add("names", [link(round)])]));
      assert.equal(readElements(socket, "names").length, round + 1);
    }
    using again = openNetlink(libc, protocols.netfilter);
    assert.equal(readGeneration(again), before);
  });

  it("is not opened through a file that is none", async () => {
    const libc = loadLibc();
    assert.throws(() => openNetlink(libc, protocols.netfilter, "/dev/null"), /setns: EINVAL/);
    assert.throws(() => openNetlink(libc, protocols.netfilter, "/run/netns/nobody"), /ENOENT/);
  });
});
