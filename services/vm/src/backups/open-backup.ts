import { once } from "node:events";
import { PassThrough } from "node:stream";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import { release } from "@lobsterd/chassis/release.ts";
import { fail } from "../errors.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import { chunkBytes } from "../sealing/header.ts";
import { openSet, SealBrokenError } from "../sealing/open-set.ts";
import type { BackupRecord } from "./backup-store.ts";
import { unwrapBackupKey } from "./data-key.ts";
import { backupIdOf, diskMibOf } from "./header.ts";
import type { WorkUnderWay } from "./work.ts";

const bufferedBytes = 1024 * 1024;
/** A part of its memory only, so that whoever takes the pieces cannot give that back (`release`). */
const zeros = Buffer.alloc(chunkBytes + 1).subarray(0, chunkBytes);

/** Where a backup's disk goes. */
export interface DiskTarget {
  readonly vmId: string;
  readonly signal: AbortSignal;
  readonly work: WorkUnderWay;
  /** What is written in the place of each piece, in order; a copy of it. */
  readonly change?: (piece: Uint8Array) => Uint8Array;
}

/**
 * Writes the disk of a backup beside that of a stopped microVM of the same disk size, whole or not at all: the last byte is sent when the last tag has passed.
 * Throws BACKUP_KEY_GONE, BACKUP_BROKEN, and what a part failed with.
 */
export async function writeBackup(
  life: Lifecycle,
  backup: BackupRecord,
  { vmId, signal, work, change = unchanged }: DiskTarget,
): Promise<void> {
  const disk = new PassThrough({ highWaterMark: bufferedBytes });
  disk.on("error", () => undefined);
  const gone = new AbortController();
  const either = AbortSignal.any([signal, gone.signal]);
  const writing = life.parts.vmm.writeDisk(vmId, disk);
  writing.catch((error: unknown) => gone.abort(error));
  try {
    await openBackup(life, backup, signal, async (plain) => {
      either.throwIfAborted();
      work.add(plain.length);
      const changed = change(plain);
      release(plain);
      if (!disk.write(changed)) await once(disk, "drain", { signal: either });
    });
    disk.end();
  } catch (error) {
    disk.destroy(error instanceof Error ? error : new Error("not whole"));
    await writing.catch(() => undefined);
    signal.throwIfAborted();
    if (gone.signal.aborted) throw gone.signal.reason;
    throw error;
  }
  await writing;
}

/** Opens a whole backup, and gives it to `take` in order; what that was given is true only when this has resolved. */
export async function openBackup(
  life: Lifecycle,
  backup: BackupRecord,
  signal: AbortSignal,
  take: (plain: Uint8Array) => Promise<void>,
): Promise<void> {
  const metadata = { backup_id: backup.backupId };
  try {
    await openSet(
      life.backups.files.path(backup),
      async (header) => {
        // The id is the digest of all of it.
        if (backupIdOf(header) !== backup.backupId || diskMibOf(header) !== backup.diskMib)
          throw fail("BACKUP_BROKEN", "the file is not this backup's", { metadata });
        return await unwrapBackupKey(life, header, signal);
      },
      async (_part, plain) => await take(plain),
    );
  } catch (cause) {
    if (cause instanceof SealBrokenError || isAbsence(cause))
      throw fail("BACKUP_BROKEN", "the sealed file is not whole", { metadata, cause });
    throw cause;
  }
}

/** Most of a disk is zeros, which need no copy. */
function unchanged(plain: Uint8Array): Uint8Array {
  const empty = zeros.subarray(0, plain.length);
  return empty.equals(plain) ? empty : Buffer.from(plain);
}
