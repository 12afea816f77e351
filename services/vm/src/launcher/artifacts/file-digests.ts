import { createHash } from "node:crypto";
import { constants, createReadStream, fstatSync, lstatSync } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { LauncherError } from "../protocol.ts";

/** Files that are remembered at most, the newest: each VM has copies of its own, and those of removed VMs are never asked for again. */
const maxKnown = 8_192;
/** Coarsest step of a file's times: a write within it after a read can leave both times as they were. */
const timeStepMs = 20;

/**
 * SHA-256 of files that root alone may write, read once and then only when something about them changed.
 *
 * Unchanged means: same device, inode, size, owner, mode, number of links, modification and change time. Every write through the file
 * system moves the change time, and no call sets it, so this proves that nobody wrote to the file since it was read. It does not
 * hold against who sets the machine's clock or writes to the disk below the file system: root, who owns the launcher anyway.
 */
export interface FileDigests {
  /**
   * In hexadecimal. Throws ARTIFACT_MISMATCH for what is no regular file with one link that root alone may write, or changes while it is
   * read. Concurrent calls for one file share one reading.
   */
  of(path: string): Promise<string>;
}

export function createFileDigests(now: () => number = Date.now, limit = maxKnown): FileDigests {
  const known = new Map<string, { readonly stamp: string; readonly sha256: string }>();
  const reading = new Map<string, Promise<string>>();

  function remember(path: string, entry: { readonly stamp: string; readonly sha256: string }): void {
    known.delete(path);
    known.set(path, entry);
    const [oldest] = known.keys();
    if (known.size > limit && oldest !== undefined) known.delete(oldest);
  }

  async function read(path: string): Promise<string> {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const found = fstatSync(file.fd, { bigint: true });
      const before = stampOf(path, found);
      const began = now();
      const hash = createHash("sha256");
      await pipeline(
        createReadStream(path, { fd: file, autoClose: false, start: 0, highWaterMark: 1024 * 1024 }),
        hash,
      );
      if (stampOf(path, fstatSync(file.fd, { bigint: true })) !== before)
        throw new LauncherError("ARTIFACT_MISMATCH", `${path} changes while it is read`);
      const sha256 = hash.digest("hex");
      // A file that was written just now is read again next time: a write in the same step of its times would not show.
      if (began - Number(found.ctimeNs / 1_000_000n) > timeStepMs) remember(path, { stamp: before, sha256 });
      return sha256;
    } finally {
      await file.close();
    }
  }

  return {
    async of(path) {
      const stamp = stampOf(path, lstatSync(path, { bigint: true }));
      const before = known.get(path);
      if (before?.stamp === stamp) return before.sha256;
      const running = reading.get(path);
      if (running !== undefined) return running;
      const started = read(path).finally(() => reading.delete(path));
      reading.set(path, started);
      return started;
    },
  };
}

function stampOf(path: string, found: ReturnType<typeof statOf>): string {
  if (!found.isFile() || found.nlink !== 1n || found.uid !== 0n || (found.mode & 0o022n) !== 0n) {
    throw new LauncherError("ARTIFACT_MISMATCH", `${path} is not a file with one link that root alone may write`);
  }
  const { dev, ino, size, mode, gid, mtimeNs, ctimeNs } = found;
  return [dev, ino, size, mode, gid, mtimeNs, ctimeNs].join(" ");
}

const statOf = (path: string) => lstatSync(path, { bigint: true });
