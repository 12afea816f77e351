/** Bytes that break the format: cut off, or with a length that cannot be. */
export class MalformedMessage extends Error {
  override readonly name = "MalformedMessage";
}

/** One netlink message. `payload` is what follows nlmsghdr: the family's own header, then attributes. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

export interface Attribute {
  /** Without the flags for nesting and byte order. */
  readonly type: number;
  readonly payload: Buffer;
}

export const messageHeaderBytes = 16;
const attributeHeaderBytes = 4;
const maxAttributeBytes = 0xffff;
const nestedFlag = 0x8000;
const typeMask = 0x3fff;

const align = (length: number): number => (length + 3) & ~3;

/** The message, padded to four bytes, so that messages can be put one behind the other. */
export function encodeMessage({ type, flags, sequence, payload }: Message): Buffer {
  const length = messageHeaderBytes + payload.length;
  const bytes = Buffer.alloc(align(length));
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt16LE(type, 4);
  bytes.writeUInt16LE(flags, 6);
  bytes.writeUInt32LE(sequence, 8);
  payload.copy(bytes, messageHeaderBytes);
  return bytes;
}

/** The messages of one datagram. Payloads are views of it. */
export function decodeMessages(datagram: Buffer): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at < datagram.length; ) {
    if (datagram.length - at < messageHeaderBytes) throw new MalformedMessage("a message ends inside its header");
    const length = datagram.readUInt32LE(at);
    if (length < messageHeaderBytes || length > datagram.length - at)
      throw new MalformedMessage(`a message of ${length} bytes in ${datagram.length - at}`);
    messages.push({
      type: datagram.readUInt16LE(at + 4),
      flags: datagram.readUInt16LE(at + 6),
      sequence: datagram.readUInt32LE(at + 8),
      payload: datagram.subarray(at + messageHeaderBytes, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** One attribute, padded to four bytes. Throws `RangeError` above what its 16-bit length can say. */
export function attribute(type: number, payload: Buffer): Buffer {
  const length = attributeHeaderBytes + payload.length;
  if (length > maxAttributeBytes) throw new RangeError(`an attribute of ${payload.length} bytes`);
  const bytes = Buffer.alloc(align(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  payload.copy(bytes, attributeHeaderBytes);
  return bytes;
}

/** An attribute made of attributes. */
export function nested(type: number, ...attributes: readonly Buffer[]): Buffer {
  return attribute(type | nestedFlag, Buffer.concat(attributes));
}

/** Attributes in their order, which is what a list of equal types needs. Payloads are views of `bytes`. */
export function decodeAttributes(bytes: Buffer): Attribute[] {
  const attributes: Attribute[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < attributeHeaderBytes) throw new MalformedMessage("an attribute ends inside its header");
    const length = bytes.readUInt16LE(at);
    if (length < attributeHeaderBytes || length > bytes.length - at)
      throw new MalformedMessage(`an attribute of ${length} bytes in ${bytes.length - at}`);
    const type = bytes.readUInt16LE(at + 2) & typeMask;
    attributes.push({ type, payload: bytes.subarray(at + attributeHeaderBytes, at + length) });
    at += align(length);
  }
  return attributes;
}

/** Attributes by type; of equal ones the last counts, as in the kernel. */
export function attributesByType(bytes: Buffer): ReadonlyMap<number, Buffer> {
  return new Map(decodeAttributes(bytes).map(({ type, payload }) => [type, payload]));
}

/** What follows a family's own header of `headerBytes`. */
export function afterHeader(payload: Buffer, headerBytes: number): Buffer {
  if (payload.length < headerBytes) throw new MalformedMessage(`${payload.length} bytes in place of a header`);
  return payload.subarray(align(headerBytes));
}
