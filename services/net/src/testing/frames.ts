import type { ProcessRunner } from "../host/process.ts";

/** Raw frames, byte by byte, for what no kernel would send by itself. */
export interface FrameFields {
  readonly destinationMac: string;
  readonly sourceMac: string;
}

export interface DatagramFields extends FrameFields {
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly protocol?: number;
  /** IPv4 options, hexadecimal. */
  readonly options?: string;
  readonly vlan?: number;
}

const maxFrames = 20_000;

export function datagramFrame(fields: DatagramFields): Buffer {
  const udp = Buffer.alloc(12);
  udp.writeUInt16BE(40_000, 0);
  udp.writeUInt16BE(fields.port, 2);
  udp.writeUInt16BE(12, 4);
  return ethernet(fields, 0x0800, ipv4Packet(fields, fields.protocol ?? 17, udp));
}

/** A TCP segment without a single flag, which belongs to no connection. */
export function nullSegmentFrame(fields: DatagramFields): Buffer {
  const tcp = Buffer.alloc(20);
  tcp.writeUInt16BE(40_000, 0);
  tcp.writeUInt16BE(fields.port, 2);
  tcp.writeUInt8(5 << 4, 12);
  const pseudo = Buffer.concat([quad(fields.source), quad(fields.destination), Buffer.from([0, 6, 0, 20]), tcp]);
  tcp.writeUInt16BE(checksum(pseudo), 16);
  return ethernet(fields, 0x0800, ipv4Packet(fields, 6, tcp));
}

/** A ping. */
export function echoRequestFrame(fields: FrameFields & { source: string; destination: string }): Buffer {
  const icmp = Buffer.from("0800000012340001", "hex");
  icmp.writeUInt16BE(checksum(icmp), 2);
  return ethernet(fields, 0x0800, ipv4Packet(fields, 1, icmp));
}

export function arpRequestFrame(fields: FrameFields & { senderMac: string; sender: string; target: string }): Buffer {
  const arp = Buffer.concat([
    Buffer.from([0, 1, 8, 0, 6, 4, 0, 1]),
    mac(fields.senderMac),
    quad(fields.sender),
    Buffer.alloc(6),
    quad(fields.target),
  ]);
  return ethernet(fields, 0x0806, arp);
}

/** An ICMPv6 echo request from a link-local address to `target`. */
export function ipv6Frame(fields: FrameFields): Buffer {
  const header = Buffer.alloc(48);
  header.writeUInt8(0x60, 0);
  header.writeUInt16BE(8, 4);
  header.writeUInt8(58, 6);
  header.writeUInt8(64, 7);
  Buffer.from("fe800000000000000000000000000001", "hex").copy(header, 8);
  Buffer.from("ff020000000000000000000000000001", "hex").copy(header, 24);
  header.writeUInt8(128, 40);
  return ethernet(fields, 0x86dd, header);
}

// perl-base is on every Debian, and Node cannot open a packet socket.
const sender = `
my ($name) = @ARGV;
socket(my $s, 17, 3, 0) or die "socket: $!";
my $request = pack("a16 x24", $name);
ioctl($s, 0x8933, $request) or die "no link $name: $!";
my $index = unpack("x16 i", $request);
my $address = pack("S n i S C C a8", 17, 0, $index, 0, 0, 6, "");
while (<STDIN>) { chomp; send($s, pack("H*", $_), 0, $address) or die "send: $!"; }
`;

/** Sends frames out of `link` in the runner's namespace, in order. */
export async function sendFrames(runner: ProcessRunner, link: string, frames: readonly Buffer[]): Promise<void> {
  if (frames.length > maxFrames) throw new RangeError("too many frames");
  const input = `${frames.map((frame) => frame.toString("hex")).join("\n")}\n`;
  await runner.run(["perl", "-e", sender, link], { input });
}

function ethernet(
  { destinationMac, sourceMac, vlan }: FrameFields & { vlan?: number },
  type: number,
  payload: Buffer,
): Buffer {
  const tag = vlan === undefined ? [] : [0x81, 0x00, vlan >> 8, vlan & 255];
  const head = [mac(destinationMac), mac(sourceMac), Buffer.from([...tag, type >> 8, type & 255])];
  return Buffer.concat([...head, payload, Buffer.alloc(Math.max(0, 46 - payload.length))]);
}

type PacketFields = Pick<DatagramFields, "source" | "destination" | "options">;

function ipv4Packet({ source, destination, options = "" }: PacketFields, protocol: number, payload: Buffer): Buffer {
  const words = 5 + Math.ceil(options.length / 8);
  const header = Buffer.alloc(4 * words);
  header.write(options, 20, "hex");
  header.writeUInt8(0x40 | words, 0);
  header.writeUInt16BE(header.length + payload.length, 2);
  header.writeUInt8(64, 8);
  header.writeUInt8(protocol, 9);
  quad(source).copy(header, 12);
  quad(destination).copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

export function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function mac(text: string): Buffer {
  return Buffer.from(text.replaceAll(":", ""), "hex");
}

export function quad(address: string): Buffer {
  return Buffer.from(address.split(".").map(Number));
}
