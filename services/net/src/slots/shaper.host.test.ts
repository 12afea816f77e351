import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Limits } from "../networks/policy.ts";
import { type Actor, cannotRun, type Ground, makeGround, unlimited, usual, world } from "../testing/ground.ts";
import { type Guest, plugGuest } from "../testing/guest.ts";
import { inner, namespacePath } from "./address-plan.ts";

const durationMs = 3000;
const port = 7001;
/** Ethernet, IPv4 and UDP around a payload. */
const headerBytes = 42;
const large = 1400;
const small = 64;

/** NET-07. What arrives is counted between the first packet and the last, with the burst of the start taken off. */
describe("what a guest sends and receives", { skip: cannotRun }, () => {
  let ground: Ground;
  let bandwidth: Guest;
  let packets: Guest;
  let neighbour: Guest;
  let internet: Actor;
  let host: Actor;

  before(async () => {
    ground = await makeGround();
    const stack = await ground.openStack();
    const attach = (slot: number, limits: Limits) =>
      stack.networks.attach({ vmId: String(slot).repeat(32), slot, egress: { mode: "internet" }, limits });
    const { sentKbits, receivedKbits, sentPackets, receivedPackets } = usual.limits;
    await attach(0, { ...unlimited.limits, sentKbits, receivedKbits });
    await attach(1, { ...unlimited.limits, sentPackets, receivedPackets });
    await attach(2, { ...unlimited.limits, sentKbits, receivedKbits });
    [bandwidth, packets, neighbour] = [
      await plugGuest(ground, 0),
      await plugGuest(ground, 1),
      await plugGuest(ground, 2),
    ];
    [internet, host] = [await ground.actor("internet"), await ground.actor("host")];
    for (const at of [port, port + 1]) await internet.count(at);
    for (const { actor } of [bandwidth, packets]) await actor.count(port);
  });
  after(() => ground.remove());

  /** Packets per second that arrive at `receiver` while `sender` sends as fast as it can. */
  async function rate(sender: Actor, receiver: Actor, address: string, bytes: number, burst: number, to = port) {
    await receiver.measured(to);
    await sender.stream(address, to, bytes, durationMs);
    await receiver.counted(to);
    const arrived = await receiver.measured(to);
    return (1000 * (arrived.packets - burst)) / arrived.durationMs;
  }

  const mbits = (perSecond: number, bytes: number): number => (perSecond * (bytes + headerBytes) * 8) / 1e6;
  const burstOf = (bytes: number): number => (32 * 1024) / (bytes + headerBytes);

  function assertWithin(measured: number, wanted: number, unit: string): void {
    assert.ok(Math.abs(measured - wanted) <= 0.1 * wanted, `${measured.toFixed(2)} ${unit} instead of ${wanted}`);
  }

  test("sends 10 Mbit/s", async () => {
    const perSecond = await rate(bandwidth.actor, internet, world.internet, large, burstOf(large));
    assertWithin(mbits(perSecond, large), 10, "Mbit/s");
  });

  test("receives 10 Mbit/s", async () => {
    const perSecond = await rate(host, bandwidth.actor, bandwidth.plan.guestAddress, large, burstOf(large));
    assertWithin(mbits(perSecond, large), 10, "Mbit/s");
  });

  test("sends 1,000 packets per second", async () => {
    assertWithin(await rate(packets.actor, internet, world.internet, small, 100), 1000, "packets/s");
  });

  test("receives 1,000 packets per second", async () => {
    assertWithin(await rate(host, packets.actor, packets.plan.guestAddress, small, 100), 1000, "packets/s");
  });

  test("one tenant's flood leaves another at least 95 % of what it had", async () => {
    const alone = await rate(neighbour.actor, internet, world.internet, large, burstOf(large), port + 1);
    const flood = bandwidth.actor.stream(world.internet, port, large, 2 * durationMs);
    const beside = await rate(neighbour.actor, internet, world.internet, large, burstOf(large), port + 1);
    await flood;
    assert.ok(beside >= 0.95 * alone, `${beside.toFixed(0)} of ${alone.toFixed(0)} packets/s`);
  });

  test("without its bucket a slot sends more: the bucket is what holds it", async () => {
    await ground.host
      .within(namespacePath(ground.netnsDir, 0))
      .run(["tc", "qdisc", "delete", "dev", inner.uplink, "root"]);
    const perSecond = await rate(bandwidth.actor, internet, world.internet, large, 0);
    assert.ok(mbits(perSecond, large) > 15, `${mbits(perSecond, large).toFixed(1)} Mbit/s without a bucket`);
  });
});
