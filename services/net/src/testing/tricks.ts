/**
 * Frames that no honest guest sends, by what they try. Pure: the namespace suite sends them from a namespace in a guest's place,
 * the stories of `deploy/e2e` from the packet socket of a real guest.
 */
import type { FrameFields } from "./frames.ts";
import {
  arpFrame,
  ethernetFrame,
  icmpError,
  icmpMessage,
  ipv4Frame,
  type Path,
  tcpFlags,
  tcpSegment,
  udpDatagram,
} from "./packets.ts";

export const protocols = { icmp: 1, igmp: 2, ipip: 4, tcp: 6, udp: 17, ipv6: 41, gre: 47, esp: 50, sctp: 132 } as const;
/** For experiments, so that nothing on any machine has a use for it. */
export const rawProtocol = 253;

export function synFrame(path: Path): Buffer {
  return ipv4Frame(path, protocols.tcp, tcpSegment(path, tcpFlags.syn));
}

export function udpFrame(path: Path): Buffer {
  return ipv4Frame(path, protocols.udp, udpDatagram(path));
}

export function echoRequestFrame(path: Path): Buffer {
  return ipv4Frame(path, protocols.icmp, icmpMessage(8, 0));
}

/** The first fragment of a SYN ends inside its header, before the flags; the second has the rest. */
export function cutSyn(path: Path): Buffer[] {
  const segment = tcpSegment(path, tcpFlags.syn);
  const id = 0x5101;
  return [
    ipv4Frame(path, protocols.tcp, segment.subarray(0, 8), { fragment: { id, offset: 0, more: true } }),
    ipv4Frame(path, protocols.tcp, segment.subarray(8), { fragment: { id, offset: 8, more: false } }),
  ];
}

/** A datagram in three fragments, the last one first. */
export function reversedFragments(path: Path): Buffer[] {
  const datagram = udpDatagram(path, Buffer.alloc(40));
  const id = 0x5102;
  return [32, 16, 0].map((offset) =>
    ipv4Frame(path, protocols.udp, datagram.subarray(offset, offset === 32 ? undefined : offset + 16), {
      fragment: { id, offset, more: offset !== 32 },
    }),
  );
}

/** Fragments without a first one: there are no ports to judge them by. */
export function loneFragments(path: Path): Buffer[] {
  return [protocols.tcp, protocols.udp, protocols.icmp].flatMap((protocol, at) => [
    ipv4Frame(path, protocol, Buffer.alloc(24), { fragment: { id: 0x5110 + at, offset: 64, more: false } }),
    ipv4Frame(path, protocol, Buffer.alloc(24), { fragment: { id: 0x5120 + at, offset: 8, more: true } }),
  ]);
}

/** First fragments of eight bytes, whose rest never comes. */
export function tinyFirstFragments(path: Path): Buffer[] {
  const extras = { fragment: { id: 0x5130, offset: 0, more: true } };
  return [
    ipv4Frame(path, protocols.tcp, tcpSegment(path, tcpFlags.syn).subarray(0, 8), extras),
    ipv4Frame(path, protocols.udp, udpDatagram(path).subarray(0, 8), extras),
    ipv4Frame(path, protocols.icmp, icmpMessage(8, 0).subarray(0, 8), extras),
  ];
}

/** The second fragment writes over the ports and flags that the first one showed. */
export function overlappingFragments(path: Path): Buffer[] {
  const shown = tcpSegment({ ...path, port: 443 }, tcpFlags.ack);
  const meant = tcpSegment(path, tcpFlags.syn);
  const id = 0x5140;
  return [
    ipv4Frame(path, protocols.tcp, shown.subarray(0, 16), { fragment: { id, offset: 0, more: true } }),
    ipv4Frame(path, protocols.tcp, meant.subarray(8), { fragment: { id, offset: 8, more: false } }),
    ipv4Frame(path, protocols.tcp, meant.subarray(0, 16), { fragment: { id: id + 1, offset: 0, more: true } }),
    ipv4Frame(path, protocols.tcp, meant, { fragment: { id: id + 1, offset: 0, more: false } }),
  ];
}

/** Every trick with fragments. */
export function fragmentTricks(path: Path): Buffer[] {
  return [cutSyn, reversedFragments, loneFragments, tinyFirstFragments, overlappingFragments].flatMap((trick) =>
    trick(path),
  );
}

/** One tag, the priority tag of VLAN 0, and two tags in both of their kinds, over what untagged may pass. */
export function taggedFrames(path: Path): Buffer[] {
  const stacks = [
    [[0x8100, 5]],
    [[0x8100, 0]],
    [[0x88a8, 5]],
    [
      [0x88a8, 5],
      [0x8100, 6],
    ],
    [
      [0x8100, 0],
      [0x8100, 0],
    ],
  ] as const;
  return stacks.flatMap((tags) => [
    ipv4Frame(path, protocols.udp, udpDatagram(path), { tags }),
    ipv4Frame(path, protocols.tcp, tcpSegment(path, tcpFlags.syn), { tags }),
    ethernetFrame({ ...path, tags }, 0x86dd, ipv6Header(59)),
  ]);
}

/** Protocols that carry others, and that a guest has no use for. */
export function tunnelFrames(path: Path): Buffer[] {
  const { ipv6, ipip, gre, esp, sctp, igmp } = protocols;
  const inner = ipv4Frame({ ...path, source: "10.77.0.2" }, protocols.udp, udpDatagram(path)).subarray(14, 46);
  return [
    ipv4Frame(path, ipv6, ipv6Header(59)),
    ipv4Frame(path, ipip, inner),
    ipv4Frame(path, gre, Buffer.concat([Buffer.from([0, 0, 8, 0]), inner])),
    ...[esp, sctp, igmp, 0, 255, rawProtocol].map((protocol) => ipv4Frame(path, protocol, Buffer.alloc(24))),
  ];
}

/** Record route, timestamp, loose and strict source route by way of `hop`, and router alert. */
export function optionFrames(path: Path, hop: string): Buffer[] {
  const via = hop.split(".").map(Number);
  const options = {
    "record route": [7, 11, 4, ...Array.from({ length: 8 }, () => 0)],
    timestamp: [68, 12, 5, 1, ...Array.from({ length: 8 }, () => 0)],
    "loose source route": [131, 7, 4, ...via],
    "strict source route": [137, 7, 4, ...via],
    "router alert": [148, 4, 0, 0],
  };
  return Object.values(options).flatMap((bytes) => [
    ipv4Frame(path, protocols.udp, udpDatagram(path), { options: bytes }),
    ipv4Frame(path, protocols.icmp, icmpMessage(8, 0), { options: bytes }),
  ]);
}

/** Answers to nothing: what a host that trusts "replies" would let in. */
export function unaskedReplies(path: Path): Buffer[] {
  const quoted: Path = {
    ...path,
    source: path.destination,
    destination: path.source,
    port: path.port,
    sourcePort: 443,
  };
  const errors = [
    [3, 1],
    [3, 3],
    [3, 4],
    [11, 0],
    [12, 0],
    [5, 1],
    [4, 0],
  ] as const;
  return [
    ...[tcpFlags.syn | tcpFlags.ack, tcpFlags.ack, tcpFlags.rst, tcpFlags.rst | tcpFlags.ack, tcpFlags.fin].map(
      (flags) => ipv4Frame(path, protocols.tcp, tcpSegment(path, flags)),
    ),
    ipv4Frame(path, protocols.icmp, icmpMessage(0, 0)),
    ...errors.flatMap(([type, code]) =>
      [protocols.tcp, protocols.udp].map((protocol) =>
        ipv4Frame(path, protocols.icmp, icmpError(type, code, quoted, protocol)),
      ),
    ),
    ipv4Frame({ ...path, sourcePort: 53 }, protocols.udp, udpDatagram({ ...path, sourcePort: 53 })),
  ];
}

/** One datagram to each of the groups that hosts join by themselves, and to everybody. */
export function multicastFrames(path: Path): Buffer[] {
  const groups = ["224.0.0.1", "224.0.0.251", "239.255.255.250", "255.255.255.255", "10.77.0.3"];
  return groups.map((destination) =>
    udpFrame({
      ...path,
      destination,
      destinationMac: destination.startsWith("2") ? multicastMac(destination) : allMacs,
    }),
  );
}

const allMacs = "ff:ff:ff:ff:ff:ff";

function multicastMac(group: string): string {
  const [first = 0, second = 0, third = 0, fourth = 0] = group.split(".").map(Number);
  if (first === 255) return allMacs;
  const octets = [second & 127, third, fourth].map((octet) => octet.toString(16).padStart(2, "0"));
  return ["01:00:5e", ...octets].join(":");
}

/** Neighbour and router messages, an echo request and a datagram, from a link-local address to all nodes. */
export function ipv6Frames(fields: FrameFields): Buffer[] {
  const multicast = { ...fields, destinationMac: "33:33:00:00:00:01" };
  // Router solicitation and advertisement, neighbour solicitation, MLD report, echo request.
  const messages = [133, 134, 135, 143, 128].map((type) => ipv6Header(58, Buffer.from([type, 0, 0, 0, 0, 0, 0, 0])));
  return [...messages, ipv6Header(17, udpDatagram({ ...fields, source: "", destination: "", port: 7001 }))].flatMap(
    (packet) => [ethernetFrame(multicast, 0x86dd, packet), ethernetFrame(fields, 0x86dd, packet)],
  );
}

function ipv6Header(nextHeader: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt8(0x60, 0);
  header.writeUInt16BE(payload.length, 4);
  header.writeUInt8(nextHeader, 6);
  header.writeUInt8(255, 7);
  Buffer.from("fe800000000000000000000000000002", "hex").copy(header, 8);
  Buffer.from("ff020000000000000000000000000001", "hex").copy(header, 24);
  return Buffer.concat([header, payload]);
}

/** Requests for `target` from `count` senders of which none is the guest, in frames of the guest's. */
export function forgedArpSenders(fields: FrameFields, target: string, count: number): Buffer[] {
  return Array.from({ length: count }, (_, at) => {
    const [low, high] = [at & 255, (at >>> 8) & 255];
    const senderMac = ["06:00:00:00", high.toString(16).padStart(2, "0"), low.toString(16).padStart(2, "0")].join(":");
    // In the subnet of the link, whose neighbours the kernel keeps, and outside of it.
    const sender = at % 2 === 0 ? `10.201.${high}.${low}` : `10.77.${high}.${low}`;
    return arpFrame({ ...fields, destinationMac: allMacs, operation: at % 3 === 0 ? 2 : 1, senderMac, sender, target });
  });
}

/** Honest requests, by the guest's own addresses, for each of `targets`. */
export function arpProbes(fields: FrameFields, sender: string, targets: readonly string[]): Buffer[] {
  return targets.map((target) =>
    arpFrame({ ...fields, destinationMac: allMacs, operation: 1, senderMac: fields.sourceMac, sender, target }),
  );
}

/**
 * Datagrams to `path` from `count` sources that are not its own, spread over all of IPv4. A fixed sequence, so that a failure can
 * be repeated. Every third has a forged hardware address too.
 */
export function forgedSources(path: Path, count: number): Buffer[] {
  let state = 0x2545f491;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  return Array.from({ length: count }, (_, at) => {
    const bits = next();
    const source = [1 + ((bits >>> 24) % 223), (bits >>> 16) & 255, (bits >>> 8) & 255, bits & 255].join(".");
    const sourceMac = at % 3 === 0 ? `06:${mac5(next())}` : path.sourceMac;
    const forged = { ...path, source: source === path.source ? "1.2.3.4" : source, sourceMac };
    return at % 2 === 0 ? udpFrame(forged) : synFrame(forged);
  });
}

function mac5(bits: number): string {
  const octets = [bits >>> 24, bits >>> 16, bits >>> 8, bits, 0x99].map((octet) => octet & 255);
  return octets.map((octet) => octet.toString(16).padStart(2, "0")).join(":");
}
