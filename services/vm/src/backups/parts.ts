import type { DatabaseSync } from "node:sqlite";
import type { Config } from "../config.ts";
import { fail } from "../errors.ts";
import { type BootQueue, createBootQueue } from "../lifecycle/boot-queue.ts";
import { type BackupFiles, openBackupFiles } from "./backup-files.ts";
import { type BackupStore, openBackupStore } from "./backup-store.ts";
import { createWorkList, type WorkList } from "./work.ts";

/** What backups need beside the rest of a tenant's life. */
export interface BackupParts {
  readonly store: BackupStore;
  readonly files: BackupFiles;
  /** Sealing takes a core: only so many backups are made or restored at a time. */
  readonly queue: BootQueue;
  readonly work: WorkList;
  /** MiB that are promised to backups and restores under way. */
  readonly held: { diskMib: number; sealedMib: number };
}

type BackupConfig = Pick<Config, "concurrentBackups" | "maxQueuedBackups">;

export function openBackupParts(
  database: DatabaseSync,
  directory: string,
  config: BackupConfig,
  now: () => number,
): BackupParts {
  const full = (waiting: number) => fail("BACKUP_QUEUE_FULL", `${waiting} backups or restores are waiting already`);
  return {
    store: openBackupStore(database),
    files: openBackupFiles(directory),
    queue: createBootQueue(config.concurrentBackups, config.maxQueuedBackups, full),
    work: createWorkList(now),
    held: { diskMib: 0, sealedMib: 0 },
  };
}

/** Backups and restores of one microVM come one after the other; an eviction ends them. */
export const backupTurn = (vmId: string) => `backup-${vmId}`;
