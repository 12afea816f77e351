import { MalformedMessage } from "./message.ts";

/** Numbers and names as attributes hold them. `native` is the host's byte order, `big` the network's. */

export function native32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function native64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

export function big16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function big32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function big64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

/** With its closing zero. Throws `RangeError` if there is one inside. */
export function zeroTerminated(text: string): Buffer {
  if (text.includes("\0")) throw new RangeError("a name with a zero inside");
  return Buffer.from(`${text}\0`, "utf8");
}

export function readNative32(bytes: Buffer | undefined): number {
  return sized(bytes, 4).readUInt32LE();
}

export function readNative64(bytes: Buffer | undefined): bigint {
  return sized(bytes, 8).readBigUInt64LE();
}

export function readBig16(bytes: Buffer | undefined): number {
  return sized(bytes, 2).readUInt16BE();
}

export function readBig32(bytes: Buffer | undefined): number {
  return sized(bytes, 4).readUInt32BE();
}

export function readBig64(bytes: Buffer | undefined): bigint {
  return sized(bytes, 8).readBigUInt64BE();
}

/** Text up to its first zero. */
export function readText(bytes: Buffer | undefined): string {
  if (bytes === undefined) throw new MalformedMessage("a name is missing");
  const end = bytes.indexOf(0);
  return bytes.toString("utf8", 0, end < 0 ? bytes.length : end);
}

/** `bytes` if there are exactly `length` of them. */
export function sized(bytes: Buffer | undefined, length: number): Buffer {
  if (bytes?.length !== length) throw new MalformedMessage(`${bytes?.length ?? "no"} bytes in place of ${length}`);
  return bytes;
}

const ipv4Pattern = /^(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/;
const macPattern = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;

/** `10.0.0.1` as four bytes. Throws `RangeError` for anything else. */
export function ipv4Bytes(address: string): Buffer {
  if (!ipv4Pattern.test(address)) throw new RangeError(`not an IPv4 address: ${address}`);
  return Buffer.from(address.split(".").map(Number));
}

export function readIpv4(bytes: Buffer | undefined): string {
  return [...sized(bytes, 4)].join(".");
}

/** Throws `RangeError` unless `address` is an IPv4 address. */
export function numberOfIpv4(address: string): number {
  return ipv4Bytes(address).readUInt32BE();
}

/** Throws `RangeError` unless `value` is a 32-bit number. */
export function ipv4OfNumber(value: number): string {
  return readIpv4(big32(value));
}

/** `06:00:0a:4d:00:02` as six bytes. Throws `RangeError` for anything else. */
export function macBytes(address: string): Buffer {
  if (!macPattern.test(address)) throw new RangeError(`not a hardware address: ${address}`);
  return Buffer.from(address.replaceAll(":", ""), "hex");
}

export function readMac(bytes: Buffer | undefined): string {
  return [...sized(bytes, 6)].map((octet) => octet.toString(16).padStart(2, "0")).join(":");
}
