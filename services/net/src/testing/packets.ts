import { checksum, type FrameFields, mac, quad } from "./frames.ts";

/** Where a frame claims to come from and go to, at every layer. */
export interface Path extends FrameFields {
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly sourcePort?: number;
}

export interface Ipv4Extras {
  /** Offset in bytes, a multiple of 8. */
  readonly fragment?: { readonly id: number; readonly offset: number; readonly more: boolean };
  /** Padded to whole words here. */
  readonly options?: readonly number[];
  readonly ttl?: number;
  readonly tags?: readonly Tag[];
}

/** EtherType of the tag (0x8100, 0x88a8) and its VLAN. */
export type Tag = readonly [type: number, id: number];

const minimumPayload = 46;
const defaultSourcePort = 40_000;

export function ethernetFrame(
  { destinationMac, sourceMac, tags = [] }: FrameFields & Pick<Ipv4Extras, "tags">,
  type: number,
  payload: Buffer,
): Buffer {
  const words = [...tags.flat(), type];
  const head = Buffer.alloc(2 * words.length);
  words.forEach((word, at) => {
    head.writeUInt16BE(word, 2 * at);
  });
  const padding = Buffer.alloc(Math.max(0, minimumPayload - payload.length));
  return Buffer.concat([mac(destinationMac), mac(sourceMac), head, payload, padding]);
}

/** An IPv4 packet with the given payload, whole or a fragment. */
export function ipv4Frame(path: Path, protocol: number, payload: Buffer, extras: Ipv4Extras = {}): Buffer {
  const { fragment, options = [], ttl = 64, tags = [] } = extras;
  const header = Buffer.alloc(20 + 4 * Math.ceil(options.length / 4));
  header.writeUInt8(0x40 | (header.length / 4), 0);
  header.writeUInt16BE(header.length + payload.length, 2);
  header.writeUInt16BE(fragment?.id ?? 0, 4);
  header.writeUInt16BE((fragment?.more === true ? 0x2000 : 0) | ((fragment?.offset ?? 0) / 8), 6);
  header.writeUInt8(ttl, 8);
  header.writeUInt8(protocol, 9);
  quad(path.source).copy(header, 12);
  quad(path.destination).copy(header, 16);
  Buffer.from(options).copy(header, 20);
  header.writeUInt16BE(checksum(header), 10);
  return ethernetFrame({ ...path, tags }, 0x0800, Buffer.concat([header, payload]));
}

export const tcpFlags = { fin: 1, syn: 2, rst: 4, ack: 16 } as const;

/** A TCP header without options or data. */
export function tcpSegment(path: Path, flags: number): Buffer {
  const tcp = Buffer.alloc(20);
  tcp.writeUInt16BE(path.sourcePort ?? defaultSourcePort, 0);
  tcp.writeUInt16BE(path.port, 2);
  tcp.writeUInt32BE(0x1000, 4);
  tcp.writeUInt8(5 << 4, 12);
  tcp.writeUInt8(flags, 13);
  tcp.writeUInt16BE(1024, 14);
  const pseudo = Buffer.concat([quad(path.source), quad(path.destination), Buffer.from([0, 6, 0, tcp.length]), tcp]);
  tcp.writeUInt16BE(checksum(pseudo), 16);
  return tcp;
}

/** A UDP datagram without a checksum, which IPv4 allows. */
export function udpDatagram(path: Path, data: Buffer = Buffer.alloc(4)): Buffer {
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(path.sourcePort ?? defaultSourcePort, 0);
  udp.writeUInt16BE(path.port, 2);
  udp.writeUInt16BE(8 + data.length, 4);
  return Buffer.concat([udp, data]);
}

export function icmpMessage(type: number, code: number, body: Buffer = Buffer.alloc(8)): Buffer {
  const icmp = Buffer.concat([Buffer.from([type, code, 0, 0]), body]);
  icmp.writeUInt16BE(checksum(icmp.length % 2 === 0 ? icmp : Buffer.concat([icmp, Buffer.alloc(1)])), 2);
  return icmp;
}

/** An ICMP error about a packet that `quoted` describes, as a router on its way would send it. */
export function icmpError(type: number, code: number, quoted: Path, protocol: number): Buffer {
  const transport = protocol === 6 ? tcpSegment(quoted, tcpFlags.ack) : udpDatagram(quoted);
  // The frame's 14 bytes of Ethernet are no part of what is quoted.
  const packet = ipv4Frame(quoted, protocol, transport).subarray(14, 14 + 20 + transport.length);
  return icmpMessage(type, code, Buffer.concat([Buffer.from([0, 0, 0x05, 0x00]), packet]));
}

/** An ARP request (1) or reply (2). */
export function arpFrame(
  fields: FrameFields & {
    readonly operation: 1 | 2;
    readonly senderMac: string;
    readonly sender: string;
    readonly targetMac?: string;
    readonly target: string;
  },
): Buffer {
  const arp = Buffer.concat([
    Buffer.from([0, 1, 8, 0, 6, 4, 0, fields.operation]),
    mac(fields.senderMac),
    quad(fields.sender),
    mac(fields.targetMac ?? "00:00:00:00:00:00"),
    quad(fields.target),
  ]);
  return ethernetFrame(fields, 0x0806, arp);
}
