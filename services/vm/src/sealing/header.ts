/**
 * The head of a sealed set: everything that may be known of it without a key, and everything that its chunks are bound to. The file is
 * `magic | length of the header | header | records of each part in order`; the digest of all that stands before the records is the salt of
 * every part's key, so that a chunk opens under the header it was sealed with and no other.
 */
import { createHash } from "node:crypto";
import { z } from "zod";

export const magic = Buffer.from("LOBSEAL\u0001", "latin1");
export const chunkBytes = 65_536;
export const maxHeaderBytes = 16_384;
/** Marks the length of the record that ends a part without a length of its own: a hint, which the tag proves. */
export const lastRecord = 0x8000_0000;
const prefixBytes = magic.length + 4;

const hexadecimal = (digits: number) => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`));
const term = z.string().regex(/^[\x20-\x7e]{0,128}$/);

/** One that was sealed while it was still being made has neither number: it ends where a chunk was sealed as its last. */
const part = z
  .strictObject({
    name: z.string().regex(/^[a-z][a-z0-9-]{0,30}$/),
    plainBytes: z.int().min(0).optional(),
    chunkCount: z.int().min(1).optional(),
  })
  .refine(
    ({ plainBytes, chunkCount }) => chunkCount === (plainBytes === undefined ? undefined : chunkCountOf(plainBytes)),
    "chunkCount does not fit plainBytes",
  );

/** What a saved machine must find again where it is loaded; anything else is refused before a byte of it is opened. */
const machine = z.strictObject({
  vmm: term,
  vmmVersion: term,
  accelerator: term,
  cpuModel: term,
  microcode: term,
  hostKernel: term,
  vcpuCount: z.int().min(1).max(32),
  memoryMib: z.int().min(1).max(1_048_576),
  image: term,
  imageDigests: z.strictObject({ vmlinux: hexadecimal(64), initrd: hexadecimal(64), rootfs: hexadecimal(64) }),
});

const schema = z
  .strictObject({
    format: z.literal(1),
    /** A snapshot is loaded once; a backup may be restored more than once, as a tenant that starts. */
    kind: z.enum(["snapshot", "backup"]),
    tenant: z.string().regex(/^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/),
    vmId: hexadecimal(32),
    generation: z.int().min(1),
    /** Rises with every set of the tenant; an older set than the last one is a rollback. */
    counter: z.int().min(1),
    createTimeMs: z.int().min(0),
    machine,
    parts: z.array(part).min(1).max(8),
    keyId: z.string().regex(/^[A-Za-z0-9._:-]{1,128}$/),
    /** The data key as `secrets` wrapped it. */
    wrappedKey: z.base64().min(1).max(8192),
  })
  .refine(({ parts }) => new Set(parts.map(({ name }) => name)).size === parts.length, "two parts of one name");

export type SealedHeader = z.infer<typeof schema>;
export type SealedMachine = z.infer<typeof machine>;
export type SealedPart = z.infer<typeof part>;

/** An empty part has one chunk too: its tag is what says that it is empty. */
export function chunkCountOf(plainBytes: number): number {
  return Math.max(1, Math.ceil(plainBytes / chunkBytes));
}

/** Prefix and header as they stand in the file. Throws a ZodError if the header is not one. */
export function encodeHeader(header: SealedHeader): Buffer {
  const text = Buffer.from(JSON.stringify(schema.parse(header)), "utf8");
  if (text.length > maxHeaderBytes) throw new RangeError("the header is too long");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  return Buffer.concat([magic, length, text]);
}

/** Length of prefix and header, from the first 12 bytes of the file; undefined if it is no sealed set. */
export function encodedHeaderBytes(prefix: Uint8Array): number | undefined {
  if (prefix.length < prefixBytes || !magic.equals(prefix.subarray(0, magic.length))) return undefined;
  const bytes = Buffer.from(prefix.buffer, prefix.byteOffset, prefix.byteLength).readUInt32BE(magic.length);
  return bytes >= 2 && bytes <= maxHeaderBytes ? prefixBytes + bytes : undefined;
}

/** The header of `encoded`, or undefined unless it is exactly what `encodeHeader` makes of it: one header has one encoding. */
export function decodeHeader(encoded: Buffer): SealedHeader | undefined {
  const parsed = schema.safeParse(parseJson(encoded.toString("utf8", prefixBytes)));
  return parsed.success && encodeHeader(parsed.data).equals(encoded) ? parsed.data : undefined;
}

export function headerDigest(encoded: Uint8Array): Buffer {
  return createHash("sha256").update(encoded).digest();
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the schema refuses it
  }
}
