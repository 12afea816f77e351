import { crc32 } from "node:zlib";
import { leafHash, leafHashBytes, maxCanonicalBytes, sequenceOfLeaf } from "./canonical.ts";

/** First bytes of every log file: 32 bytes, so that a file of another kind or a later layout is never appended to. */
export const fileHeader = Buffer.from("lobsterd audit log v1\n".padEnd(32, "\0"), "latin1");

/** Bytes before the leaf in a frame: magic u32, leaf length u32, batch start u64, leaf hash, CRC-32 of all that. */
export const frameHeaderBytes = 16 + leafHashBytes + 4;

/** Longest frame, and most frames that one fsync may cover: together they bound what a power cut can tear. */
export const maxFrameBytes = frameHeaderBytes + maxCanonicalBytes + 1;
export const maxBatchRecords = 256;
export const maxBatchBytes = maxBatchRecords * maxFrameBytes;

const magic = 0x4c415231; // "LAR1"
const crcOffset = 16 + leafHashBytes;

/** One record on disk. `batchStart` is the sequence of the first record that the same fsync covered. */
export type Frame = {
  readonly sequence: number;
  readonly batchStart: number;
  readonly leaf: Buffer;
  readonly leafHash: Buffer;
  /** Of the whole frame. */
  readonly bytes: number;
};

/** A whole frame, what is wrong with it, or that more bytes are needed to know. */
export type ParsedFrame =
  | { readonly kind: "frame"; readonly frame: Frame }
  | { readonly kind: "bad"; readonly why: string };

/** Bytes of one frame. */
export function encodeFrame(leaf: Buffer, hash: Buffer, batchStart: number): Buffer {
  const frame = Buffer.allocUnsafe(frameHeaderBytes + leaf.length);
  frame.writeUInt32BE(magic, 0);
  frame.writeUInt32BE(leaf.length, 4);
  frame.writeBigUInt64BE(BigInt(batchStart), 8);
  hash.copy(frame, 16);
  frame.writeUInt32BE(crc32(frame.subarray(0, crcOffset)), crcOffset);
  leaf.copy(frame, frameHeaderBytes);
  return frame;
}

/** The frame at the start of `bytes`, which holds `maxFrameBytes` or all that is left of the file. */
export function parseFrame(bytes: Buffer): ParsedFrame {
  const header = parseFrameHeader(bytes);
  if (header === undefined) return { kind: "bad", why: "no frame header" };
  const end = frameHeaderBytes + header.length;
  if (bytes.length < end) return { kind: "bad", why: "frame ends after the file" };
  const leaf = bytes.subarray(frameHeaderBytes, end);
  const hash = leafHash(leaf);
  if (!hash.equals(bytes.subarray(16, 16 + leafHashBytes))) return { kind: "bad", why: "leaf hash differs" };
  const sequence = sequenceOfLeaf(leaf);
  return { kind: "frame", frame: { sequence, batchStart: header.batchStart, leaf, leafHash: hash, bytes: end } };
}

/** Batch start of the first intact frame header in `bytes` with `batchStart` in (after, below), if there is one. */
export function findLaterBatch(bytes: Buffer, after: number, below: number): number | undefined {
  const pattern = Buffer.alloc(4);
  pattern.writeUInt32BE(magic);
  for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) {
    const header = parseFrameHeader(bytes.subarray(at));
    if (header !== undefined && header.batchStart > after && header.batchStart < below) return header.batchStart;
  }
  return undefined;
}

function parseFrameHeader(bytes: Buffer): { length: number; batchStart: number } | undefined {
  if (bytes.length < frameHeaderBytes || bytes.readUInt32BE(0) !== magic) return undefined;
  if (crc32(bytes.subarray(0, crcOffset)) !== bytes.readUInt32BE(crcOffset)) return undefined;
  const length = bytes.readUInt32BE(4);
  if (length > maxCanonicalBytes + 1) return undefined;
  return { length, batchStart: Number(bytes.readBigUInt64BE(8)) };
}
