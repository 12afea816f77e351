/**
 * One chunk of a part: at most 64 KiB of plain text, sealed with AES-256-GCM. Its nonce is its place, an 88-bit number and a byte that says
 * whether it is the part's last, so that a chunk opens at one place only; the key belongs to one part of one header, so that no nonce
 * repeats under it.
 */
import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { chunkBytes } from "./header.ts";

const algorithm = "aes-256-gcm";
const tagBytes = 16;
/** Of a record on disk, without its length. */
export const maxRecordBytes = 1 + chunkBytes + tagBytes;
export const minRecordBytes = 1 + tagBytes;

/** First byte of what is sealed. */
const stored = 0;
const zeros = 1;
const zstd = 2;
const codecBytes = [stored, zeros, zstd].map((codec) => Uint8Array.of(codec));

/** "zeros" leaves out empty memory, at no cost that is felt; "zstd" also compresses what gets smaller. "none" keeps the length of a chunk readable. */
export type Compression = "none" | "zeros" | "zstd";

/** A part of its memory only, so that nobody to whom it is lent can give that back (`release`). */
const zeroChunk = Buffer.alloc(chunkBytes + 1).subarray(0, chunkBytes);
const fast = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/** The key of one part; `salt` is the digest of the header. As an object: Node takes half as long for a chunk as with a key of bytes. */
export function partKey(dataKey: Uint8Array, salt: Uint8Array, partName: string): KeyObject {
  const bytes = Buffer.from(hkdfSync("sha256", dataKey, salt, partName, 32));
  try {
    return createSecretKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

/** A record in the pieces that the cipher gives it in: joined, they would be copied, which costs a good part of what sealing them does. */
export function sealChunk(
  key: KeyObject,
  index: number,
  isLast: boolean,
  plain: Uint8Array,
  compression: Compression,
): readonly Buffer[] {
  const [codec, body] = compress(plain, compression);
  const cipher = createCipheriv(algorithm, key, nonceOf(index, isLast), { authTagLength: tagBytes });
  const sealed = [cipher.update(codecBytes[codec] ?? Buffer.alloc(0)), cipher.update(body)];
  cipher.final(); // nothing: this cipher's output is as long as its input
  return [...sealed, cipher.getAuthTag()];
}

/**
 * The plain text of a record, to be read only: zeros are one buffer for all, anything else is nobody else's. Undefined if it was not sealed under this key
 * for this place and length, or, where `plainBytes` is undefined, as a shorter chunk without compression.
 */
export function openChunk(
  key: KeyObject,
  index: number,
  isLast: boolean,
  record: Uint8Array,
  plainBytes: number | undefined,
): Buffer | undefined {
  if (record.length < minRecordBytes || record.length > maxRecordBytes) return undefined;
  const decipher = createDecipheriv(algorithm, key, nonceOf(index, isLast), { authTagLength: tagBytes });
  decipher.setAuthTag(record.subarray(record.length - tagBytes));
  const codec = decipher.update(record.subarray(0, 1))[0];
  const body = decipher.update(record.subarray(1, record.length - tagBytes));
  try {
    decipher.final();
  } catch {
    return undefined; // the tag does not fit
  }
  if (plainBytes === undefined) return codec === stored && body.length < chunkBytes ? body : undefined;
  return decompress(codec, body, plainBytes);
}

function nonceOf(index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(index, 5, 6); // a file has less than 2^48 chunks; the first five bytes of the number stay zero
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}

function compress(plain: Uint8Array, compression: Compression): [codec: number, body: Uint8Array] {
  if (compression === "none") return [stored, plain];
  if (plain.length > 0 && zeroChunk.subarray(0, plain.length).equals(plain)) return [zeros, Buffer.alloc(0)];
  if (compression === "zeros") return [stored, plain];
  const smaller = zstdCompressSync(plain, fast);
  return smaller.length < plain.length ? [zstd, smaller] : [stored, plain];
}

function decompress(codec: number | undefined, body: Buffer, plainBytes: number): Buffer | undefined {
  switch (codec) {
    case stored:
      return body.length === plainBytes ? body : undefined;
    case zeros:
      return body.length === 0 && plainBytes <= chunkBytes ? zeroChunk.subarray(0, plainBytes) : undefined;
    case zstd: {
      // Only what this key's holder sealed comes here; the bound is against our own mistakes.
      const plain = zstdDecompressSync(body, { maxOutputLength: chunkBytes });
      return plain.length === plainBytes ? plain : undefined;
    }
    default:
      return undefined;
  }
}
