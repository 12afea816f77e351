import { type FileHandle, link, open, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { type Compression, partKey, sealChunk } from "./chunk.ts";
import { chunkBytes, chunkCountOf, encodeHeader, headerDigest, type SealedHeader } from "./header.ts";

const batchBytes = 1024 * 1024;

/** One part as it is before it is sealed: exactly `plainBytes`, in pieces of any size. */
export interface PartSource {
  readonly name: string;
  readonly plainBytes: number;
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
 * Seals the parts into one file, 0600, durable on return under its name and not before. Holds two batches of 1 MiB in memory, whatever the size. A failed
 * call leaves nothing. Throws RangeError when a source is not as long as it says, and what the file system throws.
 */
export async function sealSet({ path, header, dataKey, parts, compression }: SealOrder): Promise<SealedHeader> {
  const whole: SealedHeader = {
    ...header,
    parts: parts.map(({ name, plainBytes }) => ({ name, plainBytes, chunkCount: chunkCountOf(plainBytes) })),
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

async function sealPart(file: FileHandle, part: PartSource, key: Buffer, compression: Compression): Promise<void> {
  const last = chunkCountOf(part.plainBytes) - 1;
  const writer = createBatchWriter(file);
  let index = 0;
  try {
    for await (const plain of chunksOf(part)) {
      const record = sealChunk(key, index, index === last, plain, compression);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(record.length);
      await writer.add([length, record]);
      index += 1;
    }
  } finally {
    key.fill(0);
    await writer.end();
  }
}

/** A write costs as much as sealing a chunk: records are written by the megabyte, and the next ones sealed meanwhile. */
function createBatchWriter(file: FileHandle) {
  let batch: Buffer[] = [];
  let bytes = 0;
  let writing: Promise<unknown> = Promise.resolve();
  async function flush(): Promise<void> {
    await writing;
    const [full, expected] = [batch, bytes];
    [batch, bytes] = [[], 0];
    if (expected === 0) return;
    writing = file.writev(full).then(({ bytesWritten }) => {
      if (bytesWritten !== expected) throw new Error("the disk took a part of what was sealed");
    });
    writing.catch(() => undefined); // thrown by whoever waits for it next
  }
  return {
    async add(buffers: readonly Buffer[]): Promise<void> {
      for (const buffer of buffers) bytes += buffer.length;
      batch.push(...buffers);
      if (bytes >= batchBytes) await flush();
    },
    async end(): Promise<void> {
      await flush();
      await writing;
    },
  };
}

/** The part in chunks of 64 KiB, the last of them shorter; one empty chunk for an empty part. A chunk is valid until the next one. */
async function* chunksOf({ name, plainBytes, read }: PartSource): AsyncGenerator<Uint8Array> {
  const chunk = Buffer.alloc(chunkBytes);
  let [filled, total] = [0, 0];
  try {
    for await (const piece of read()) {
      total += piece.length;
      if (total > plainBytes) break;
      for (let offset = 0; offset < piece.length; ) {
        const taken = Math.min(chunkBytes - filled, piece.length - offset);
        chunk.set(piece.subarray(offset, offset + taken), filled);
        filled += taken;
        offset += taken;
        if (filled < chunkBytes) continue;
        yield chunk;
        filled = 0;
      }
    }
    if (total !== plainBytes) throw new RangeError(`part ${name} is not ${plainBytes} bytes long`);
    if (filled > 0 || plainBytes === 0) yield chunk.subarray(0, filled);
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
