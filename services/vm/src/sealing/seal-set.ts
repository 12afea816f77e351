import type { KeyObject } from "node:crypto";
import { type FileHandle, link, open, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { release } from "@lobsterd/chassis/release.ts";
import { type Compression, partKey, sealChunk } from "./chunk.ts";
import { chunkBytes, chunkCountOf, encodeHeader, headerDigest, lastRecord, type SealedHeader } from "./header.ts";

/** Records are written together: one of zeros is 21 bytes. */
const batchBytes = 1024 * 1024;
const batchPieces = 1024;
/** So many may wait to be written: a disk that hesitates does not hold up the cipher at once. */
const waitingBatches = 4;
/** So many are on their way to the disk while the next are sealed, instead of all of them at the end. */
const syncedBytes = 32 * 1024 * 1024;
const lengthBytes = 4;

/** One part as it is before it is sealed, in pieces of any size: exactly `plainBytes`, or, without that, as many as there are until it ends. */
export interface PartSource {
  readonly name: string;
  readonly plainBytes?: number;
  read(): AsyncIterable<Uint8Array>;
}

export interface SealOrder {
  /** Must not exist. A file beside it with `.partial` at the end holds what is not complete. */
  readonly path: string;
  readonly header: Omit<SealedHeader, "parts">;
  /** 32 bytes, used for this set alone. The caller still owns it. */
  readonly dataKey: Uint8Array;
  readonly parts: readonly PartSource[];
  readonly compression: Compression;
}

/**
 * Seals the parts into one file, 0600, durable on return under its name and not before. Holds less than 8 MiB, whatever the size. A failed
 * call leaves nothing. Throws RangeError when a source is not as long as it says, and what the file system throws.
 */
export async function sealSet({ path, header, dataKey, parts, compression }: SealOrder): Promise<SealedHeader> {
  const whole: SealedHeader = {
    ...header,
    parts: parts.map(({ name, plainBytes }) =>
      plainBytes === undefined ? { name } : { name, plainBytes, chunkCount: chunkCountOf(plainBytes) },
    ),
  };
  const encoded = encodeHeader(whole);
  const salt = headerDigest(encoded);
  const partial = `${path}.partial`;
  const file = await open(partial, "wx", 0o600);
  try {
    try {
      await file.write(encoded);
      for (const part of parts) await sealPart(file, part, partKey(dataKey, salt, part.name), compression);
      await file.sync();
    } finally {
      await file.close();
    }
    // A link, and not a rename, which would replace a set that is there already.
    await link(partial, path);
  } finally {
    await unlink(partial);
  }
  await syncDirectory(dirname(path));
  return whole;
}

async function sealPart(file: FileHandle, part: PartSource, key: KeyObject, compression: Compression): Promise<void> {
  const { plainBytes } = part;
  const last = plainBytes === undefined ? undefined : chunkCountOf(plainBytes) - 1;
  const writer = createBatchWriter(file);
  let index = 0;
  try {
    for await (const plain of chunksOf(part)) {
      const isLast = last === undefined ? plain.length < chunkBytes : index === last;
      const endsHere = last === undefined && isLast;
      const record = sealChunk(key, index, isLast, plain, endsHere ? "none" : compression);
      if (writer.add(record, endsHere ? lastRecord : 0)) await writer.flush();
      index += 1;
    }
    await writer.end();
  } finally {
    await writer.settled();
  }
}

/** A write costs as much as sealing a chunk: records are written together, and the next ones sealed meanwhile. */
function createBatchWriter(file: FileHandle) {
  let batch: Buffer[] = [];
  let filled = 0;
  let written = Promise.resolve();
  let synced = Promise.resolve();
  let unsynced = 0;
  const waiting: Promise<void>[] = [];
  async function flush(): Promise<void> {
    const pieces = batch;
    unsynced += filled;
    [batch, filled] = [[], 0];
    written = written.then(() => writeAll(file, pieces));
    written.catch(() => undefined); // thrown by whoever waits for it
    if (unsynced >= syncedBytes) startSync();
    waiting.push(written);
    if (waiting.length > waitingBatches) await waiting.shift();
  }
  /** One after the other. A failure is told to one sync only, so none of them may be lost. */
  function startSync(): void {
    unsynced = 0;
    const before = Promise.all([synced, written]);
    synced = before.then(() => file.datasync());
    synced.catch(() => undefined); // as above
  }
  return {
    /** Takes a record and a mark for its length. Returns whether what it has should be flushed before it takes another. */
    add(record: readonly Buffer[], mark: number): boolean {
      const bytes = bytesOf(record);
      batch.push(lengthOf(bytes + mark), ...record);
      filled += lengthBytes + bytes;
      return filled >= batchBytes || batch.length >= batchPieces;
    },
    /** Returns when few enough wait to be written. */
    flush,
    /** Returns when everything is written. */
    async end(): Promise<void> {
      await flush();
      await Promise.all([written, synced]);
    },
    /** Returns when nothing is being written, whatever came of it. */
    settled: () => Promise.allSettled([written, synced]),
  };
}

function bytesOf(pieces: readonly Buffer[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

function lengthOf(marked: number): Buffer {
  const length = Buffer.allocUnsafe(lengthBytes);
  length.writeUInt32BE(marked);
  return length;
}

/** Writes the pieces, which are gone then. */
async function writeAll(file: FileHandle, pieces: readonly Buffer[]): Promise<void> {
  const { bytesWritten } = await file.writev(pieces);
  if (bytesWritten < bytesOf(pieces)) await writeRest(file, pieces, bytesWritten);
  for (const piece of pieces) release(piece);
}

async function writeRest(file: FileHandle, pieces: readonly Buffer[], bytesWritten: number): Promise<void> {
  const rest = Buffer.concat(pieces).subarray(bytesWritten);
  for (let done = 0; done < rest.length; ) done += (await file.write(rest, done, rest.length - done)).bytesWritten;
}

/**
 * The part in chunks of 64 KiB, the last of them shorter; one empty chunk for an empty part. A part without a length ends in a chunk that is shorter always,
 * and may be empty. A chunk is valid until the next one.
 */
async function* chunksOf({ name, plainBytes, read }: PartSource): AsyncGenerator<Uint8Array> {
  const chunk = Buffer.alloc(chunkBytes);
  let [filled, total] = [0, 0];
  try {
    for await (const piece of read()) {
      total += piece.length;
      if (plainBytes !== undefined && total > plainBytes) break;
      for (let offset = 0; offset < piece.length; ) {
        if (filled === 0 && piece.length - offset >= chunkBytes) {
          yield piece.subarray(offset, offset + chunkBytes);
          offset += chunkBytes;
          continue;
        }
        const taken = Math.min(chunkBytes - filled, piece.length - offset);
        chunk.set(piece.subarray(offset, offset + taken), filled);
        filled += taken;
        offset += taken;
        if (filled < chunkBytes) continue;
        yield chunk;
        filled = 0;
      }
    }
    if (plainBytes !== undefined && total !== plainBytes)
      throw new RangeError(`part ${name} is not ${plainBytes} bytes long`);
    if (filled > 0 || !plainBytes) yield chunk.subarray(0, filled);
  } finally {
    chunk.fill(0);
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
