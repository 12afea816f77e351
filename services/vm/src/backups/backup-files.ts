import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { link, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";

/** What names a backup's file: it says nothing of a tenant's name. */
export interface BackupFileKey {
  readonly vmId: string;
  readonly counter: number;
}

/** A file that somebody outside sends; gone when it is disposed of. */
export interface Draft extends AsyncDisposable {
  /** Nothing is there yet. */
  readonly path: string;
  /** Gives the file its place among the backups, durable on return. Throws EEXIST. */
  adopt(key: BackupFileKey): Promise<void>;
}

/** Sealed files and nothing else, in a directory of vm's own. */
export interface BackupFiles {
  path(key: BackupFileKey): string;
  draft(): Draft;
  delete(key: BackupFileKey): Promise<void>;
  /** Removes every backup of a microVM. Safe to repeat. */
  remove(vmId: string): Promise<void>;
  /** Removes every file but drafts that are in use and those that `isWanted` knows. */
  sweep(isWanted: (file: { readonly vmId: string; readonly name: string }) => boolean): Promise<void>;
}

export function backupFileName({ vmId, counter }: BackupFileKey): string {
  return `${vmId}-${counter}.sealed`;
}

/** Makes the directory, 0700. */
export function openBackupFiles(directory: string): BackupFiles {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const drafts = new Set<string>();
  const path = (key: BackupFileKey) => join(directory, backupFileName(key));
  const removeWhere = async (isGone: (name: string, vmId: string) => boolean) => {
    let isChanged = false;
    for (const name of await readdir(directory)) {
      if (!isGone(name, /^[0-9a-f]{32}/.exec(name)?.[0] ?? "")) continue;
      await rm(join(directory, name), { force: true });
      isChanged = true;
    }
    if (isChanged) await syncDirectory(directory);
  };
  return {
    path,
    draft() {
      const name = `import-${randomBytes(16).toString("hex")}.partial`;
      drafts.add(name);
      const own = join(directory, name);
      return {
        path: own,
        async adopt(key) {
          // A link, and not a rename, which would replace a backup that is there already.
          await link(own, path(key));
          await syncDirectory(directory);
        },
        async [Symbol.asyncDispose]() {
          await rm(own, { force: true });
          drafts.delete(name);
        },
      };
    },
    delete: (key) => rm(path(key), { force: true }),
    remove: (vmId) => removeWhere((_name, owner) => owner === vmId),
    sweep: (isWanted) => removeWhere((name, vmId) => !drafts.has(name) && !isWanted({ vmId, name })),
  };
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, "r");
  await directory.sync();
}
