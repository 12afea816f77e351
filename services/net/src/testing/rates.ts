import type { Limits } from "../networks/policy.ts";
import { type Actor, type Ground, makeGround, unlimited, usual, world } from "./ground.ts";
import { type Guest, plugGuest } from "./guest.ts";

const durationMs = 3000;
const port = 7001;
/** Ethernet, IPv4 and UDP around a payload. */
const headerBytes = 42;
const bucketBytes = 32 * 1024;
const largePayload = 1400;
const smallPayload = 64;

/** Tenants of which each has one kind of limit, and how fast they get anything through. */
export interface RateScene {
  readonly ground: Ground;
  /** Limited in bandwidth, and so is its neighbour; `packets` is limited in packets. */
  readonly bandwidth: Guest;
  readonly neighbour: Guest;
  readonly packets: Guest;
  /** Megabits per second, with headers, that arrive outside or at the guest while the other end sends as fast as it can. */
  sentMbits(guest: Guest): Promise<number>;
  receivedMbits(guest: Guest): Promise<number>;
  /** Packets per second, likewise. */
  sentPackets(guest: Guest): Promise<number>;
  receivedPackets(guest: Guest): Promise<number>;
  /** Keeps a guest sending to the outside for two measurements. */
  flood(guest: Guest): Promise<unknown>;
}

export async function setRateScene(): Promise<RateScene> {
  const ground = await makeGround();
  try {
    return await populate(ground);
  } catch (error) {
    await ground.remove();
    throw error;
  }
}

async function populate(ground: Ground): Promise<RateScene> {
  const stack = await ground.openStack();
  const attach = (slot: number, limits: Partial<Limits>) =>
    stack.networks.attach({
      ...{ vmId: String(slot).repeat(32), slot, egress: { mode: "internet" } },
      limits: { ...unlimited.limits, ...limits },
    });
  const { sentKbits, receivedKbits, sentPackets, receivedPackets } = usual.limits;
  await attach(0, { sentKbits, receivedKbits });
  await attach(1, { sentKbits, receivedKbits });
  await attach(2, { sentPackets, receivedPackets });
  const [bandwidth, neighbour, packets] = [
    await plugGuest(ground, 0),
    await plugGuest(ground, 1),
    await plugGuest(ground, 2),
  ];
  const [internet, host] = [await ground.actor("internet"), await ground.actor("host")];
  for (const guest of [bandwidth, neighbour, packets]) await guest.actor.count(port);
  // Each guest has a port of its own outside, so that one's flood is not counted for another.
  const portOf = ({ plan }: Guest): number => port + plan.slot;
  for (const guest of [bandwidth, neighbour, packets]) await internet.count(portOf(guest));

  /** Packets per second between the first that arrives and the last, less those that came at once at the start. */
  async function rate(
    sender: Actor,
    receiver: Actor,
    to: { address: string; port: number },
    bytes: number,
    burst: number,
  ) {
    await receiver.measured(to.port);
    await sender.stream(to.address, to.port, bytes, durationMs);
    await receiver.counted(to.port);
    const arrived = await receiver.measured(to.port);
    return (1000 * (arrived.packets - burst)) / arrived.durationMs;
  }

  const outwards = (guest: Guest, bytes: number, burst: number) =>
    rate(guest.actor, internet, { address: world.internet, port: portOf(guest) }, bytes, burst);
  const inwards = (guest: Guest, bytes: number, burst: number) =>
    rate(host, guest.actor, { address: guest.plan.guestAddress, port }, bytes, burst);
  const mbits = (perSecond: number): number => (perSecond * (largePayload + headerBytes) * 8) / 1e6;
  const bucket = bucketBytes / (largePayload + headerBytes);
  return {
    ...{ ground, bandwidth, neighbour, packets },
    sentMbits: async (guest) => mbits(await outwards(guest, largePayload, bucket)),
    receivedMbits: async (guest) => mbits(await inwards(guest, largePayload, bucket)),
    sentPackets: (guest) => outwards(guest, smallPayload, sentPackets / 10),
    receivedPackets: (guest) => inwards(guest, smallPayload, receivedPackets / 10),
    flood: (guest) => guest.actor.stream(world.internet, portOf(guest), largePayload, 2 * durationMs),
  };
}
