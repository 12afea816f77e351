import { afterHeader, attribute, attributesByType, MalformedMessage, nested } from "./message.ts";
import { linkIndex } from "./rtnetlink.ts";
import { flags, isRefusal, type NetlinkSocket } from "./socket.ts";
import { native32, native64, readNative32, readNative64, readText, zeroTerminated } from "./values.ts";

/** A link's root queueing discipline. */
export interface Shaping {
  /** `tbf` where the link is shaped. */
  readonly kind: string;
  /** Kilobits (1000 bits) a second; only of `tbf`. */
  readonly kbits?: number;
  /** Packets dropped since it was set. */
  readonly drops: number;
}

const newQdisc = 36;
const deleteQdisc = 37;
const getQdisc = 38;
const headerBytes = 20;
const rootParent = 0xffffffff;

const kindAttribute = 1;
const optionsAttribute = 2;
const statisticsAttribute = 7;
const queueStatistics = 3;
const dropsOffset = 8;
const tbfParameters = 1;
const tbfRate64 = 4;
const tbfBurst = 6;
const parametersBytes = 36;
const rateOffset = 8;
const limitOffset = 24;
const bufferOffset = 28;
const linkLayerEthernet = 1;
const nanosecondsPerTick = 64;

const bytesPerKbit = 125;
const maxUint32 = 0xffffffff;
const maxKbits = 100_000_000;
const burstBytes = 32 * 1024;
const maxLatencySeconds = 0.05;

/**
 * Limits what a link of the socket's namespace sends, in place of whatever limit it has: `kbits` kilobits (1000 bits) a second,
 * 1 to 100,000,000, with bursts of 32 KiB; a packet that would wait for more than 50 ms is dropped. May be repeated.
 * `socket`: of `protocols.route`. Throws `NoSuchLink`, or `RangeError` for another rate.
 */
export function setShaping(socket: NetlinkSocket, name: string, { kbits }: { readonly kbits: number }): void {
  const options = encodeTbf(kbits);
  const index = linkIndex(socket, name);
  const payload = Buffer.concat([rootOf(index), attribute(kindAttribute, zeroTerminated("tbf")), options]);
  socket.request({ type: newQdisc, flags: flags.create | flags.replace, payload });
}

/** Takes the limit away; nothing happens if there is none. Throws `NoSuchLink`. */
export function clearShaping(socket: NetlinkSocket, name: string): void {
  if (readShaping(socket, name)?.kind !== "tbf") return;
  socket.request({ type: deleteQdisc, flags: 0, payload: rootOf(linkIndex(socket, name)) });
}

/** The link's root discipline; `undefined` where it has none but what every link begins with. Throws `NoSuchLink`. */
export function readShaping(socket: NetlinkSocket, name: string): Shaping | undefined {
  const index = linkIndex(socket, name);
  try {
    // Without echo, the kernel tells everybody who listens but not who asked.
    const [reply] = socket.request({ type: getQdisc, flags: flags.echo, payload: rootOf(index) });
    return reply === undefined ? undefined : decodeShaping(reply.payload);
  } catch (error) {
    if (isRefusal(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** TCA_OPTIONS of a token bucket. The kernel wants no rate table as long as the link layer is given. */
export function encodeTbf(kbits: number): Buffer {
  if (!Number.isInteger(kbits) || kbits < 1 || kbits > maxKbits) throw new RangeError(`not a rate: ${kbits} kbit/s`);
  const rate = kbits * bytesPerKbit;
  const parameters = Buffer.alloc(parametersBytes);
  parameters.writeUInt8(linkLayerEthernet, 1);
  parameters.writeUInt32LE(Math.min(rate, maxUint32), rateOffset);
  parameters.writeUInt32LE(Math.min(Math.ceil(rate * maxLatencySeconds) + burstBytes, maxUint32), limitOffset);
  parameters.writeUInt32LE(
    Math.min(Math.ceil((burstBytes / rate) * (1e9 / nanosecondsPerTick)), maxUint32),
    bufferOffset,
  );
  return nested(
    optionsAttribute,
    attribute(tbfParameters, parameters),
    attribute(tbfBurst, native32(burstBytes)),
    ...(rate > maxUint32 ? [attribute(tbfRate64, native64(BigInt(rate)))] : []),
  );
}

/** `payload`: of one RTM_NEWQDISC. */
export function decodeShaping(payload: Buffer): Shaping {
  const attributes = attributesByType(afterHeader(payload, headerBytes));
  const kind = readText(attributes.get(kindAttribute));
  const statistics = attributesByType(attributes.get(statisticsAttribute) ?? Buffer.alloc(0)).get(queueStatistics);
  if (statistics === undefined) throw new MalformedMessage("a queueing discipline without statistics");
  return {
    kind,
    ...(kind === "tbf" ? { kbits: readRate(attributes.get(optionsAttribute)) / bytesPerKbit } : {}),
    drops: readNative32(statistics.subarray(dropsOffset, dropsOffset + 4)),
  };
}

function readRate(options: Buffer | undefined): number {
  const attributes = attributesByType(options ?? Buffer.alloc(0));
  const wide = attributes.get(tbfRate64);
  if (wide !== undefined) return Number(readNative64(wide));
  const parameters = attributes.get(tbfParameters);
  if (parameters === undefined) throw new MalformedMessage("a token bucket without parameters");
  return readNative32(parameters.subarray(rateOffset, rateOffset + 4));
}

/** struct tcmsg */
function rootOf(index: number): Buffer {
  const bytes = Buffer.alloc(headerBytes);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(rootParent, 12);
  return bytes;
}
