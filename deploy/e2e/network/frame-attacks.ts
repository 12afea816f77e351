import { deniedRanges } from "../../../services/net/src/firewall/ranges.ts";
import { inner } from "../../../services/net/src/slots/address-plan.ts";
import type { Path } from "../../../services/net/src/testing/packets.ts";
import {
  arpProbes,
  echoRequestFrame,
  forgedArpSenders,
  forgedSources,
  fragmentTricks,
  ipv6Frames,
  multicastFrames,
  optionFrames,
  synFrame,
  taggedFrames,
  tunnelFrames,
  udpFrame,
  unaskedReplies,
} from "../../../services/net/src/testing/tricks.ts";
import { uplink } from "../../dev/outside.ts";
import { fromGuest } from "./attacker.ts";
import { attackPort, type Field } from "./field.ts";

/** Frames that a guest's root sends, of which nothing may pass and nothing may come back. */
export interface FrameAttack {
  /** Row of the controls. */
  readonly control: string;
  readonly frames: (field: Field) => Promise<readonly Buffer[]> | readonly Buffer[];
  /** How often the list is sent. Default: three times. */
  readonly repeat?: number;
}

const repeats = 3;

export function repeatsOf({ repeat = repeats }: FrameAttack): number {
  return repeat;
}

function to(destination: string, port: number = attackPort): Path {
  return { ...fromGuest, destination, port };
}

const outside = to(uplink.outsideAddress);

/** By every protocol that has a meaning to whoever gets it. */
function knocks(destination: string, port?: number): Buffer[] {
  const path = to(destination, port);
  return [synFrame(path), udpFrame(path), echoRequestFrame(path)];
}

/** Every address of the instance's namespace, loopback included. */
export async function hostAddresses(field: Field): Promise<string[]> {
  const text = await field.host.runner.run(["ip", "-4", "-json", "address"]);
  const links = JSON.parse(text) as Array<{ addr_info: Array<{ local: string }> }>;
  return links.flatMap(({ addr_info }) => addr_info.map(({ local }) => local));
}

/** Where clouds answer with credentials, and others who trust whoever can reach them. */
const metadata = [
  "169.254.169.254",
  "169.254.170.2",
  "169.254.169.253",
  "100.100.100.200",
  "192.0.0.192",
  "168.63.129.16",
];

/** The first and the last address of a range that can be a destination. */
function ends(range: string): string[] {
  const [base = "", length = "32"] = range.split("/");
  const first = base.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const last = first + 2 ** (32 - Number(length)) - 1;
  return [...new Set([first, last])].map((at) =>
    [at >>> 24, at >>> 16, at >>> 8, at].map((part) => part & 255).join("."),
  );
}

const elsewhere = ({ attackers }: Field): string => attackers[1].plan.guestAddress;

export const frameAttacks: Readonly<Record<string, FrameAttack>> = {
  "guest to every address of the host": {
    control: "NET-02",
    frames: async (field) => (await hostAddresses(field)).flatMap((address) => knocks(address)),
    repeat: 1,
  },
  "guest to what listens on the host": {
    control: "NET-02",
    frames: ({ attackers: [first] }) =>
      [uplink.address, first.plan.hostAddress, "127.0.0.1"].flatMap((address) =>
        [80, 443, 4222, 4318, 5053].flatMap((port) => knocks(address, port)),
      ),
  },
  "guest to both ends of each denied range": {
    control: "NET-02",
    frames: () => deniedRanges.flatMap(ends).flatMap((address) => knocks(address)),
  },
  "guest to metadata services": {
    control: "NET-02",
    frames: () => metadata.flatMap((address) => [...knocks(address, 80), ...knocks(address, 53)]),
  },
  "guest to every port that matters of other guests": {
    control: "NET-02",
    frames: ({ attackers: [, ...others] }) =>
      others.flatMap(({ plan }) => [22, 52, 53, 7443, 9000].flatMap((port) => knocks(plan.guestAddress, port))),
  },
  "1,000 forged sources": { control: "NET-03", frames: () => forgedSources(outside, 1000), repeat: 1 },
  "forged source of another guest": {
    control: "NET-03",
    frames: ({ attackers: [first, second] }) =>
      [first.plan.guestAddress, second.plan.guestAddress, second.plan.hostAddress, uplink.address, "127.0.0.1"].flatMap(
        (source) => [synFrame({ ...outside, source }), udpFrame({ ...outside, source })],
      ),
  },
  "forged hardware address": {
    control: "NET-03",
    frames: ({ attackers: [first] }) =>
      ["06:00:00:00:00:99", inner.gatewayMac, first.plan.hostMac].flatMap((sourceMac) => [
        synFrame({ ...outside, sourceMac }),
        udpFrame({ ...outside, sourceMac }),
      ]),
  },
  "frames for somebody else's hardware address": {
    control: "NET-03",
    frames: ({ attackers: [first, second] }) =>
      [second.plan.slotMac, first.plan.hostMac, "ff:ff:ff:ff:ff:ff"].map((destinationMac) =>
        udpFrame({ ...outside, destinationMac }),
      ),
  },
  "300 forged ARP senders": {
    control: "NET-03",
    frames: () => forgedArpSenders(fromGuest, inner.gatewayAddress, 300),
    repeat: 1,
  },
  "ARP probes for everybody else's address": {
    control: "NET-03",
    frames: async (field) =>
      arpProbes(fromGuest, inner.guestAddress, [
        ...(await hostAddresses(field)),
        ...field.attackers.map(({ plan }) => plan.guestAddress),
        "10.77.0.3",
        "169.254.169.254",
        uplink.outsideAddress,
      ]),
    repeat: 1,
  },
  "fragments to the host": { control: "NET-02", frames: () => fragmentTricks(to(uplink.address)) },
  "fragments to another guest": {
    control: "NET-02",
    frames: (field) => [9000, 7443].flatMap((port) => fragmentTricks(to(elsewhere(field), port))),
  },
  "fragments to denied ranges": {
    control: "NET-02",
    frames: () =>
      ["10.0.0.1", "169.254.169.254", "100.100.100.200"].flatMap((address) => fragmentTricks(to(address, 80))),
  },
  "fragments of a forged source": {
    control: "NET-03",
    frames: () => fragmentTricks({ ...outside, source: "45.0.0.77" }),
  },
  "one, two and priority tags": { control: "NET-06", frames: () => taggedFrames(outside) },
  "IPv6, on the wire and inside of IPv4": {
    control: "NET-06",
    frames: () => [...ipv6Frames(fromGuest), ...tunnelFrames(outside)],
  },
  "tunnels to another guest": { control: "NET-06", frames: (field) => tunnelFrames(to(elsewhere(field))) },
  "IP options to another guest": {
    control: "NET-02",
    frames: (field) => optionFrames(to(elsewhere(field)), elsewhere(field)),
  },
  "IP options by way of the host": {
    control: "NET-02",
    frames: (field) => optionFrames(to(field.attackers[0].plan.hostAddress), elsewhere(field)),
  },
  "IP options to the internet": {
    control: "NET-02",
    frames: (field) => optionFrames(outside, elsewhere(field)),
  },
  "multicast and broadcast": { control: "NET-02", frames: () => multicastFrames(outside) },
  "replies that nobody asked for": {
    control: "NET-02",
    frames: ({ attackers: [first] }) =>
      [first.plan.hostAddress, uplink.address].flatMap((address) =>
        [443, 7443, 40_000].flatMap((port) => unaskedReplies(to(address, port))),
      ),
  },
};
