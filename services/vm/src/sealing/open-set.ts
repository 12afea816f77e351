import type { KeyObject } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { maxRecordBytes, minRecordBytes, openChunk, partKey } from "./chunk.ts";
import {
  chunkBytes,
  chunkCountOf,
  decodeHeader,
  encodedHeaderBytes,
  headerDigest,
  lastRecord,
  magic,
  type SealedHeader,
  type SealedPart,
} from "./header.ts";

/** At least a record and its length. */
const readBytes = 512 * 1024;

/** Why a file is not opened. None of them says anything about what is sealed. */
export type SealFault =
  | "NOT_A_SEALED_SET"
  | "HEADER_INVALID"
  | "TRUNCATED"
  | "RECORD_INVALID" // a length that no record has
  | "CHUNK_REFUSED" // changed, moved, of another set, or under another key
  | "TRAILING_BYTES";

export class SealBrokenError extends Error {
  override readonly name = "SealBrokenError";
  readonly fault: SealFault;

  constructor(fault: SealFault, detail: string) {
    super(`sealed set: ${detail}`);
    this.fault = fault;
  }
}

/** Takes plain text in order, to be read only; it stays as it is when the sink has returned. What it was given is of a whole and true set only once `openSet` has resolved. */
export type PartSink = (part: SealedPart, plain: Uint8Array) => Promise<void>;

/** The header alone, without a key: what the file says of itself, which nothing has proved. Throws SealBrokenError. */
export async function inspectSet(path: string): Promise<SealedHeader> {
  await using file = await openFile(path);
  return (await readHeader(file.reader)).header;
}

/**
 * Opens every chunk of every part, in order, and gives it to `sink`. Resolves when the last tag has passed and the file ended there; until then
 * nothing that `sink` was given may be used. `dataKeyFor` sees the header first and may refuse it by throwing; its key is cleared
 * here. Holds less than 1 MiB, whatever the size. Throws SealBrokenError, and what `dataKeyFor`, `sink` and the file system throw.
 */
export async function openSet(
  path: string,
  dataKeyFor: (header: SealedHeader) => Promise<Uint8Array>,
  sink: PartSink,
): Promise<SealedHeader> {
  await using file = await openFile(path);
  const { reader } = file;
  const { header, salt } = await readHeader(reader);
  const dataKey = await dataKeyFor(header);
  try {
    for (const part of header.parts) await openPart(reader, part, partKey(dataKey, salt, part.name), sink);
  } finally {
    dataKey.fill(0);
  }
  if (!(await reader.isAtEnd())) throw new SealBrokenError("TRAILING_BYTES", "the file goes on after the last chunk");
  return header;
}

async function openPart(reader: Reader, part: SealedPart, key: KeyObject, sink: PartSink): Promise<void> {
  const { name, plainBytes: partBytes } = part;
  const last = partBytes === undefined ? undefined : chunkCountOf(partBytes) - 1;
  for (let index = 0, isLast = false; !isLast; index += 1) {
    const word = (await reader.take(4)).readUInt32BE();
    const isMarked = last === undefined && word >= lastRecord;
    const recordBytes = isMarked ? word - lastRecord : word;
    if (recordBytes < minRecordBytes || recordBytes > maxRecordBytes)
      throw new SealBrokenError("RECORD_INVALID", `chunk ${index} of ${name} has no length of a record`);
    isLast = last === undefined ? isMarked : index === last;
    const record = await reader.take(recordBytes);
    const plain = openChunk(key, index, isLast, record, plainBytesOf(partBytes, index, isLast));
    if (plain === undefined) throw new SealBrokenError("CHUNK_REFUSED", `chunk ${index} of ${name} does not open`);
    await sink(part, plain);
  }
}

/** How long a chunk is; undefined for the end of a part that does not say how long it is. */
function plainBytesOf(partBytes: number | undefined, index: number, isLast: boolean): number | undefined {
  if (!isLast) return chunkBytes;
  return partBytes === undefined ? undefined : partBytes - index * chunkBytes;
}

async function readHeader(reader: Reader): Promise<{ header: SealedHeader; salt: Buffer }> {
  const prefix = Buffer.from(await reader.take(magic.length + 4));
  const bytes = encodedHeaderBytes(prefix);
  if (bytes === undefined) throw new SealBrokenError("NOT_A_SEALED_SET", "it does not begin like one");
  const encoded = Buffer.concat([prefix, await reader.take(bytes - prefix.length)]);
  const header = decodeHeader(encoded);
  if (header === undefined) throw new SealBrokenError("HEADER_INVALID", "the header is malformed");
  return { header, salt: headerDigest(encoded) };
}

interface Reader {
  /** The next bytes, valid until the next call. Throws TRUNCATED where there are not so many. */
  take(bytes: number): Promise<Buffer>;
  isAtEnd(): Promise<boolean>;
}

async function openFile(path: string): Promise<{ readonly reader: Reader } & AsyncDisposable> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  if ((await handle.stat()).isFile()) return { reader: readerOf(handle), [Symbol.asyncDispose]: () => handle.close() };
  await handle.close();
  throw new SealBrokenError("NOT_A_SEALED_SET", "it is no regular file");
}

function readerOf(handle: FileHandle): Reader {
  const buffer = Buffer.alloc(readBytes);
  let [start, end] = [0, 0];

  /** Has `bytes` in the buffer, or all that is left of the file. */
  async function fill(bytes: number): Promise<void> {
    if (end - start >= bytes) return;
    buffer.copyWithin(0, start, end);
    [start, end] = [0, end - start];
    while (end < bytes) {
      const { bytesRead } = await handle.read(buffer, end, readBytes - end, null);
      if (bytesRead === 0) return;
      end += bytesRead;
    }
  }

  return {
    async take(bytes) {
      await fill(bytes);
      if (end - start < bytes) throw new SealBrokenError("TRUNCATED", "the file ends too early");
      start += bytes;
      return buffer.subarray(start - bytes, start);
    },
    async isAtEnd() {
      await fill(1);
      return end === start;
    },
  };
}
