import { hash } from "node:crypto";

/** A moment as protobuf's Timestamp has it: whole seconds since 1970 and 0 to 999,999,999 ns. */
export type Instant = { readonly seconds: bigint; readonly nanos: number };

/** What a writer says happened. Phase and outcome are the numbers of the proto's enums. */
export type Draft = {
  readonly eventId: string;
  readonly time: Instant;
  readonly actor: string;
  readonly action: string;
  readonly tenant: string;
  readonly resource: string;
  readonly phase: number;
  readonly outcome: number;
  readonly reason: string;
  readonly requestDigest: string;
  readonly traceId: string;
  readonly generation: number;
  readonly serviceVersion: string;
  readonly onBehalfOf: string;
  readonly writerBootId: string;
  readonly writerSequence: number;
};

/** A record as the log keeps it: the draft and what audit itself vouches for. */
export type LogRecord = {
  readonly sequence: number;
  readonly appendTime: Instant;
  readonly bootId: string;
  readonly writer: string;
  readonly draft: Draft;
};

/** No canonical record is longer. A reader refuses a longer one before it allocates. */
export const maxCanonicalBytes = 8192;

export const leafHashBytes = 32;

const version = 2;
/** Without whom the actor acted for and without the writer's own count. Still read, since a log outlives the program that wrote it. */
const firstVersion = 1;
const leafPrefix = 0x00;
const scratch = Buffer.alloc(maxCanonicalBytes + 1);
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * RFC 6962 leaf input of a record: the byte 0x00, then its canonical bytes (layout: README, "Byte layout").
 *
 * Not protobuf: its map order, unknown fields and default values leave one message several encodings, and a hash needs one.
 * Throws RangeError if the record does not fit, which validation prevents.
 */
export function encodeLeaf(record: LogRecord): Buffer {
  const out = new CanonicalWriter();
  const { draft } = record;
  out.u8(leafPrefix);
  out.u8(version);
  out.u64(record.sequence);
  out.instant(record.appendTime);
  out.text(record.bootId);
  out.text(record.writer);
  out.text(draft.eventId);
  out.instant(draft.time);
  out.text(draft.actor);
  out.text(draft.action);
  out.text(draft.tenant);
  out.text(draft.resource);
  out.u8(draft.phase);
  out.u8(draft.outcome);
  out.text(draft.reason);
  out.text(draft.requestDigest);
  out.text(draft.traceId);
  out.u32(draft.generation);
  out.text(draft.serviceVersion);
  out.text(draft.onBehalfOf);
  out.text(draft.writerBootId);
  out.u64(draft.writerSequence);
  return out.finish();
}

/** RFC 6962 leaf hash: SHA-256 of the leaf input. The prefix keeps a leaf from being passed off as an inner node. */
export function leafHash(leaf: Uint8Array): Buffer {
  return hash("sha256", leaf, "buffer");
}

/** The record in a leaf input. Throws if the bytes are anything but the one encoding of one record. */
export function decodeLeaf(leaf: Uint8Array): LogRecord {
  const input = new CanonicalReader(leaf);
  if (input.u8() !== leafPrefix) throw new RangeError("leaf does not begin with 0x00");
  const found = input.u8();
  if (found !== version && found !== firstVersion) {
    throw new RangeError(`canonical record has version ${found}, this program knows ${version}`);
  }
  const sequence = input.u64();
  const appendTime = input.instant();
  const bootId = input.text();
  const writer = input.text();
  const draft: Draft = {
    eventId: input.text(),
    time: input.instant(),
    actor: input.text(),
    action: input.text(),
    tenant: input.text(),
    resource: input.text(),
    phase: input.u8(),
    outcome: input.u8(),
    reason: input.text(),
    requestDigest: input.text(),
    traceId: input.text(),
    generation: input.u32(),
    serviceVersion: input.text(),
    onBehalfOf: found === firstVersion ? "" : input.text(),
    writerBootId: found === firstVersion ? "" : input.text(),
    writerSequence: found === firstVersion ? 0 : input.u64(),
  };
  input.end();
  return { sequence, appendTime, bootId, writer, draft };
}

/** Sequence number of a leaf input, without decoding the rest. */
export function sequenceOfLeaf(leaf: Buffer): number {
  return leaf.length < 10 ? -1 : Number(leaf.readBigUInt64BE(2));
}

/** Fills one shared buffer: encoding is synchronous, so there is never a second writer. */
class CanonicalWriter {
  #offset = 0;

  u8(value: number): void {
    this.#offset = scratch.writeUInt8(value, this.#offset);
  }

  u32(value: number): void {
    this.#offset = scratch.writeUInt32BE(value, this.#offset);
  }

  u64(value: number): void {
    this.#offset = scratch.writeBigUInt64BE(BigInt(value), this.#offset);
  }

  instant(value: Instant): void {
    this.#offset = scratch.writeBigInt64BE(value.seconds, this.#offset);
    this.u32(value.nanos);
  }

  text(value: string): void {
    const start = this.#offset + 2;
    // write() stops silently at the end of the buffer, so a string that does not fit must be caught by its own length.
    const length = Buffer.byteLength(value);
    if (start + length > scratch.length) throw new RangeError(`record is longer than ${maxCanonicalBytes} bytes`);
    scratch.writeUInt16BE(length, this.#offset);
    scratch.write(value, start, length, "utf8");
    this.#offset = start + length;
  }

  finish(): Buffer {
    return Buffer.from(scratch.subarray(0, this.#offset));
  }
}

class CanonicalReader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#advance(1));
  }

  u32(): number {
    return this.#bytes.readUInt32BE(this.#advance(4));
  }

  u64(): number {
    const value = this.#bytes.readBigUInt64BE(this.#advance(8));
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError("sequence number is out of range");
    return Number(value);
  }

  instant(): Instant {
    return { seconds: this.#bytes.readBigInt64BE(this.#advance(8)), nanos: this.u32() };
  }

  text(): string {
    const length = this.#bytes.readUInt16BE(this.#advance(2));
    const start = this.#advance(length);
    return decoder.decode(this.#bytes.subarray(start, start + length));
  }

  end(): void {
    if (this.#offset !== this.#bytes.length) throw new RangeError("bytes are left after the record");
  }

  #advance(length: number): number {
    const start = this.#offset;
    if (start + length > this.#bytes.length) throw new RangeError("record ends too early");
    this.#offset = start + length;
    return start;
  }
}
