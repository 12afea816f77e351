import { randomBytes } from "node:crypto";
import { closeSync, constants, fstatSync, fsyncSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import { PrivateFileError, readPrivateFile } from "./private-file.ts";
import { syncDirectory } from "./sync-directory.ts";

/** Bytes of a shard. */
export const shardBytes = 32;

/**
 * One random file for each tenant key, mixed into what wraps it. It is what a root key alone cannot bring back: with its shard a tenant key is
 * gone, whatever copies there are of the store and of the root key. So the directory must be in no backup that outlives a day, and no snapshot.
 */
export interface TenantShards {
  /** Makes the shard, durable. Throws if there is one. */
  create(tenantKeyId: string): Buffer;
  /** `undefined` after `destroy`. The caller wipes it. Throws `PrivateFileError` while the directory is away or unsafe. */
  read(tenantKeyId: string): Buffer | undefined;
  /** Overwrites and removes it, durable. Nothing there is not an error. */
  destroy(tenantKeyId: string): void;
  /** Throws `PrivateFileError` unless the directory is there and nobody else's to enter. */
  check(): void;
}

export function openTenantShards(directory: string): TenantShards {
  const pathOf = (tenantKeyId: string) => {
    if (!/^[0-9a-f]{32}$/.test(tenantKeyId)) throw new TypeError("not the id of a tenant key");
    return join(directory, tenantKeyId);
  };

  function check(): void {
    const status = statSync(directory, { throwIfNoEntry: false });
    if (status === undefined) throw new PrivateFileError("missing", `${directory} is not there`);
    if (!status.isDirectory()) throw new PrivateFileError("unsafe", `${directory} is not a directory`);
    const mode = status.mode & 0o7777;
    if (mode !== 0o700)
      throw new PrivateFileError("unsafe", `${directory} has mode 0${mode.toString(8)}, must be 0700`);
    const user = process.geteuid?.();
    if (status.uid !== user) {
      throw new PrivateFileError("unsafe", `${directory} is owned by uid ${status.uid}, must be ${user}`);
    }
  }

  return {
    check,

    create(tenantKeyId) {
      check();
      const shard = randomBytes(shardBytes);
      const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
      const descriptor = openSync(pathOf(tenantKeyId), flags, 0o600);
      try {
        writeSync(descriptor, shard);
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
      syncDirectory(directory);
      return shard;
    },

    read(tenantKeyId) {
      check();
      try {
        return readPrivateFile(pathOf(tenantKeyId), { minBytes: shardBytes, maxBytes: shardBytes });
      } catch (error) {
        if (error instanceof PrivateFileError && error.state === "missing") return undefined;
        throw error;
      }
    },

    destroy(tenantKeyId) {
      check();
      const path = pathOf(tenantKeyId);
      let descriptor: number;
      try {
        descriptor = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW);
      } catch (error) {
        if (isAbsence(error)) return;
        throw error;
      }
      try {
        writeSync(descriptor, Buffer.alloc(fstatSync(descriptor).size), 0);
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
      rmSync(path);
      syncDirectory(directory);
    },
  };
}
