import { MalformedMessage } from "./message.ts";
import {
  big16,
  ipv4Bytes,
  macBytes,
  native32,
  readBig16,
  readIpv4,
  readMac,
  readNative32,
  readText,
} from "./values.ts";

/** One field of a set's key. Names of types are those of nft. */
export type KeyPart =
  | { readonly type: "ifname"; readonly value: string }
  | { readonly type: "ether_addr"; readonly value: string }
  | { readonly type: "ipv4_addr"; readonly value: string }
  | { readonly type: "mark"; readonly value: number }
  | { readonly type: "inet_proto"; readonly value: number }
  | { readonly type: "inet_service"; readonly value: number };

export type KeyType = KeyPart["type"];
/** Fields in the order of the set's type. */
export type Key = readonly KeyPart[];

const maxNameBytes = 15;

export const keyTypes = ["ifname", "ether_addr", "ipv4_addr", "mark", "inet_proto", "inet_service"] as const;

interface Codec {
  /** Number of the type in nft, which it leaves with the kernel as a note for whoever lists the set. */
  readonly id: number;
  readonly bytes: number;
}

const codecs: Readonly<Record<KeyType, Codec>> = {
  ifname: { id: 41, bytes: 16 },
  ether_addr: { id: 9, bytes: 6 },
  ipv4_addr: { id: 7, bytes: 4 },
  mark: { id: 19, bytes: 4 },
  inet_proto: { id: 12, bytes: 1 },
  inet_service: { id: 13, bytes: 2 },
};

const bitsPerType = 6;

/** The key as the kernel holds it: in a concatenation, every field fills up four bytes. Throws `RangeError` on a bad value. */
export function encodeKey(key: Key): Buffer {
  const [only] = key;
  if (only === undefined) throw new RangeError("a key without fields");
  return key.length === 1 ? encodePart(only) : Buffer.concat(key.map((part) => padded(encodePart(part))));
}

/** Throws `MalformedMessage` unless `bytes` is a key of these types. */
export function decodeKey(bytes: Buffer, types: readonly KeyType[]): Key {
  const lengths = types.map((type) => codecs[type].bytes);
  const held = types.length === 1 ? lengths : lengths.map(fourfold);
  if (bytes.length !== held.reduce((sum, length) => sum + length, 0))
    throw new MalformedMessage(`a key of ${bytes.length} bytes for ${types.join(" . ")}`);
  let at = 0;
  return types.map((type, index) => {
    const part = decodePart(type, bytes.subarray(at, at + (lengths[index] ?? 0)));
    at += held[index] ?? 0;
    return part;
  });
}

/** The types that nft noted for a set. Throws `MalformedMessage` for one that is not known here. */
export function decodeKeyTypes(note: number): KeyType[] {
  const types: KeyType[] = [];
  for (let rest = note; rest > 0; rest >>>= bitsPerType) {
    const id = rest & ((1 << bitsPerType) - 1);
    const type = keyTypes.find((name) => codecs[name].id === id);
    if (type === undefined) throw new MalformedMessage(`a set of nft's type ${id}`);
    types.unshift(type);
  }
  return types;
}

/** Text that is equal exactly for equal keys, for comparison and for messages: `lob-1 . 10.201.0.3`. */
export function keyText(key: Key, keyEnd?: Key): string {
  const fields = key.map(({ value }, index) => {
    const end = keyEnd?.[index]?.value ?? value;
    const text = typeof value === "string" ? value.toLowerCase() : String(value);
    return end === value ? text : `${text}-${end}`;
  });
  return fields.join(" . ");
}

function encodePart(part: KeyPart): Buffer {
  switch (part.type) {
    case "ifname":
      return encodeName(part.value);
    case "ether_addr":
      return macBytes(part.value);
    case "ipv4_addr":
      return ipv4Bytes(part.value);
    case "mark":
      return native32(part.value);
    case "inet_proto":
      if (!Number.isInteger(part.value) || part.value < 0 || part.value > 255)
        throw new RangeError(`not a protocol: ${part.value}`);
      return Buffer.of(part.value);
    case "inet_service":
      return big16(part.value);
  }
}

function decodePart(type: KeyType, bytes: Buffer): KeyPart {
  switch (type) {
    case "ifname":
      return { type, value: readText(bytes) };
    case "ether_addr":
      return { type, value: readMac(bytes) };
    case "ipv4_addr":
      return { type, value: readIpv4(bytes) };
    case "mark":
      return { type, value: readNative32(bytes) };
    case "inet_proto":
      return { type, value: bytes.readUInt8() };
    case "inet_service":
      return { type, value: readBig16(bytes) };
  }
}

// A wildcard's asterisk would be taken for a letter of the name.
function encodeName(name: string): Buffer {
  const length = Buffer.byteLength(name);
  if (length === 0 || length > maxNameBytes || /[\s/*"\0]/.test(name))
    throw new RangeError(`not a link's name: ${name}`);
  const bytes = Buffer.alloc(codecs.ifname.bytes);
  bytes.write(name);
  return bytes;
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes], fourfold(bytes.length));
}

function fourfold(length: number): number {
  return (length + 3) & ~3;
}
