import type { DatabaseSync } from "node:sqlite";
import { text } from "./rows.ts";

/** From which root key to which. */
export interface RootKeyChange {
  readonly previousRootKeyId: string;
  readonly rootKeyId: string;
}

/** The rotation of the root key that is under way, if there is one. */
export interface RootRotationStore {
  find(): RootKeyChange | undefined;
  write(change: RootKeyChange, nowMs: number): void;
  clear(): void;
}

export function openRootRotationStore(database: DatabaseSync): RootRotationStore {
  const find = database.prepare("SELECT previous_root_key_id, root_key_id FROM root_rotation");
  const write = database.prepare(
    "INSERT INTO root_rotation (id, previous_root_key_id, root_key_id, start_time_ms) VALUES (1, ?, ?, ?)",
  );
  const clear = database.prepare("DELETE FROM root_rotation");
  return {
    find() {
      const row = find.get();
      if (row === undefined) return undefined;
      return { previousRootKeyId: text(row, "previous_root_key_id"), rootKeyId: text(row, "root_key_id") };
    },
    write({ previousRootKeyId, rootKeyId }, nowMs) {
      write.run(previousRootKeyId, rootKeyId, nowMs);
    },
    clear() {
      clear.run();
    },
  };
}
