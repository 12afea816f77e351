import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { hashBytes } from "./merkle.ts";

/** The tree's hashes, in the order of `hash-layout.ts`. Derived from the log, so nothing of it has to be durable. */
export interface HashStore {
  append(hashes: readonly Uint8Array[]): void;
  /** The hash at `position`; throws RangeError if there is none. */
  read(position: number): Uint8Array;
  close(): void;
}

const bufferBytes = 64 * 1024;

/**
 * A new, empty store in the file at `path` (0600), which it replaces. Synchronous, as the index is: what was written is in the page cache, and a
 * proof of a million records reads twenty hashes.
 */
export function createHashFile(path: string): HashStore {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
  const descriptor = openSync(path, flags, 0o600);
  const buffer = Buffer.alloc(bufferBytes);
  let buffered = 0;
  let written = 0;

  const flush = (): void => {
    for (let done = 0; done < buffered; ) {
      done += writeSync(descriptor, buffer, done, buffered - done, written + done);
    }
    written += buffered;
    buffered = 0;
  };

  return {
    append(hashes) {
      for (const hash of hashes) {
        if (buffered === bufferBytes) flush();
        buffer.set(hash, buffered);
        buffered += hashBytes;
      }
    },
    read(position) {
      const hash = Buffer.alloc(hashBytes);
      const offset = position * hashBytes;
      const isThere =
        offset < written
          ? readSync(descriptor, hash, 0, hashBytes, offset) === hashBytes
          : buffer.copy(hash, 0, offset - written, Math.min(offset - written + hashBytes, buffered)) === hashBytes;
      if (!isThere) throw new RangeError(`there is no hash ${position}`);
      return hash;
    },
    close: () => closeSync(descriptor),
  };
}

/** A store in memory, for tests. */
export function createMemoryHashStore(): HashStore {
  const stored: Uint8Array[] = [];
  return {
    append: (hashes) => void stored.push(...hashes),
    read(position) {
      const hash = stored[position];
      if (hash === undefined) throw new RangeError(`there is no hash ${position}`);
      return hash;
    },
    close: () => undefined,
  };
}
