import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { cannotRun } from "../testing/ground.ts";
import { makeScratch, type Scratch } from "../testing/scratch.ts";
import { loadLibc } from "./libc.ts";
import { deleteLinkGroup, listLinks, readLink } from "./link.ts";
import { NoSuchLink } from "./rtnetlink.ts";
import { clearShaping, readShaping, setShaping } from "./shaping.ts";
import { type NetlinkSocket, openNetlink, protocols } from "./socket.ts";

describe("links", { skip: cannotRun }, () => {
  let scratch: Scratch;
  let socket: NetlinkSocket;

  before(async () => {
    scratch = await makeScratch();
    socket = openNetlink(loadLibc(), protocols.route, scratch.path);
    await ip("link add name near address 06:00:0a:c9:00:02 type veth peer name far");
    await ip("link set near up");
  });
  after(async () => {
    socket.close();
    await scratch[Symbol.asyncDispose]();
  });

  const ip = (command: string): Promise<string> => scratch.runner.run(["ip", ...command.split(" ")]);
  const qdisc = (link: string): Promise<string> => scratch.runner.run(["tc", "-s", "-d", "qdisc", "show", "dev", link]);

  it("are listed as ip lists them", async () => {
    const listed: { ifname: string; ifindex: number; flags: string[]; address: string; group: string }[] = JSON.parse(
      await ip("-d -j link show"),
    );
    const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);
    assert.deepEqual(
      listLinks(socket).sort(byName),
      listed
        .map(({ ifname, ifindex, flags, address }) => ({
          name: ifname,
          index: ifindex,
          isUp: flags.includes("UP"),
          hardwareAddress: address,
          group: 0,
        }))
        .sort(byName),
    );
  });

  it("are read by name, with what they counted", async () => {
    await ip("address replace 192.0.2.1/24 dev near");
    await ip("link set far up");
    await scratch.runner.run(["bash", "-c", "echo > /dev/udp/192.0.2.9/9"]);
    const sent = async (): Promise<bigint> => {
      const [listed] = JSON.parse(await ip("-s -j link show near"));
      return BigInt(listed.stats64.tx.bytes);
    };
    const before = await sent();
    const link = readLink(socket, "near");
    assert.ok(link !== undefined && link.statistics.sentBytes > 0n && link.statistics.sentPackets > 0n);
    assert.equal(link.hardwareAddress, "06:00:0a:c9:00:02");
    assert.ok(before <= link.statistics.sentBytes && link.statistics.sentBytes <= (await sent()));
    assert.equal(readLink(socket, "nobody"), undefined);
  });

  it("are deleted by group", async () => {
    for (const name of ["a", "b"]) await ip(`link add name ${name} group 77 type veth peer name ${name}1`);
    assert.equal(listLinks(socket).filter(({ group }) => group === 77).length, 2);
    assert.equal(deleteLinkGroup(socket, 77), true);
    assert.equal(deleteLinkGroup(socket, 77), false);
    assert.deepEqual(
      listLinks(socket)
        .map(({ name }) => name)
        .sort(),
      ["far", "lo", "near"],
    );
    assert.throws(() => deleteLinkGroup(socket, 0), RangeError);
  });

  for (const { kbits, words } of [
    { kbits: 64, words: /rate 64Kbit burst 32Kb.* lat 50/ },
    { kbits: 20_000, words: /rate 20Mbit burst 32Kb.* lat 50/ },
    { kbits: 100_000_000, words: /rate 100Gbit burst .* lat 50/ },
  ]) {
    it(`are shaped to ${kbits} kbit/s in tc's words`, async () => {
      setShaping(socket, "near", { kbits });
      setShaping(socket, "near", { kbits });
      assert.match(await qdisc("near"), words);
      assert.deepEqual(readShaping(socket, "near"), { kind: "tbf", kbits, drops: 0 });
    });
  }

  it("count what shaping drops", async () => {
    clearShaping(socket, "near");
    setShaping(socket, "near", { kbits: 8 });
    await ip("neighbour replace 192.0.2.9 lladdr 06:00:00:00:00:09 dev near");
    await scratch.runner.run(["bash", "-c", "for i in {1..90}; do printf %01000d 0 > /dev/udp/192.0.2.9/9; done"]);
    const drops = readShaping(socket, "near")?.drops ?? 0;
    assert.ok(drops > 0);
    assert.match(await qdisc("near"), new RegExp(`dropped ${drops},`));
  });

  it("are shaped no more once that is cleared", async () => {
    clearShaping(socket, "near");
    clearShaping(socket, "near");
    assert.doesNotMatch(await qdisc("near"), /tbf/);
    assert.notEqual(readShaping(socket, "near")?.kind, "tbf");
    assert.throws(() => setShaping(socket, "nobody", { kbits: 1 }), NoSuchLink);
    assert.throws(() => readShaping(socket, "nobody"), NoSuchLink);
    assert.throws(() => setShaping(socket, "near", { kbits: 0 }), RangeError);
  });
});
