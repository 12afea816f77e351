import { createCipheriv, randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { sealSet } from "@lobsterd/vm/sealing/seal-set.ts";
import { exampleHeader, partOf } from "@lobsterd/vm/sealing/testing.ts";

const mebibyte = 1024 * 1024;
const chunkBytes = 64 * 1024;

/** Bytes per second of this Node's AES-256-GCM over 64 KiB at a time on one thread, and of a sealed set of the same bytes. */
export interface SealingRates {
  readonly cipher: number;
  readonly sealed: number;
}

/** Seals `mebibytes` of what cannot be compressed into a file in `directory`, a tmpfs: the format is measured, not the disk. */
export async function measureSealing(mebibytes: number, directory: string): Promise<SealingRates> {
  const plain = randomBytes(mebibytes * mebibyte);
  const key = randomBytes(32);
  const cipherMs = timed(() => {
    for (let at = 0; at < plain.length; at += chunkBytes) {
      const cipher = createCipheriv("aes-256-gcm", key, nonce(at / chunkBytes));
      cipher.update(plain.subarray(at, at + chunkBytes));
      cipher.final();
      cipher.getAuthTag();
    }
  });
  const path = join(directory, "bench.sealed");
  const start = performance.now();
  const state = partOf("state", plain, mebibyte); // in pieces as a file stream reads them
  await sealSet({ path, header: exampleHeader, dataKey: key, parts: [state], compression: "zeros" });
  const sealedMs = performance.now() - start;
  rmSync(path);
  return { cipher: (plain.length / cipherMs) * 1000, sealed: (plain.length / sealedMs) * 1000 };
}

function timed(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

function nonce(index: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(index, 7);
  return bytes;
}
