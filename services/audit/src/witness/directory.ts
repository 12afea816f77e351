import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { type CheckpointStore, joinNotes } from "./store.ts";

/**
 * Appends notes to one file for each day of UTC, `checkpoints-2026-11-26.notes`, and syncs it. The directory is meant to be a mount that this host
 * can add to and not rewrite.
 */
export function openDirectoryStore(directory: string, now: () => number): CheckpointStore {
  return {
    kind: "directory",
    name: `directory ${directory}`,
    async put(notes) {
      const day = new Date(now()).toISOString().slice(0, 10);
      // O_APPEND without reading or truncation, which is all that an append-only mount gives.
      const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
      const file = await open(join(directory, `checkpoints-${day}.notes`), flags, 0o640);
      try {
        await file.appendFile(joinNotes(notes));
        await file.sync();
      } finally {
        await file.close();
      }
    },
  };
}
