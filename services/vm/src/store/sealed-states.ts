import type { DatabaseSync } from "node:sqlite";
import { z } from "zod";

/** The one sealed state that a tenant's memory is in. While it is here no guest of the tenant may run; without it no file is ever loaded. */
export interface SealedState {
  readonly vmId: string;
  /** What the file's header has to say too: an older file is a rollback. */
  readonly counter: number;
  /** The generation that was saved. */
  readonly generation: number;
  /** The data key as `secrets` wrapped it. */
  readonly wrappedKey: Uint8Array;
}

export interface SealedStateStore {
  find(vmId: string): SealedState | undefined;
  insert(sealed: SealedState): void;
  delete(vmId: string): void;
  /** Names of the files that are somebody's memory. */
  fileNames(): ReadonlySet<string>;
}

const rowSchema = z.object({
  vm_id: z.string(),
  counter: z.number(),
  generation: z.number(),
  wrapped_key: z.instanceof(Uint8Array),
});

export function openSealedStateStore(database: DatabaseSync): SealedStateStore {
  const find = database.prepare("SELECT * FROM sealed_state WHERE vm_id = ?");
  const all = database.prepare("SELECT * FROM sealed_state");
  const insert = database.prepare(
    "INSERT INTO sealed_state (vm_id, counter, generation, wrapped_key) VALUES (?, ?, ?, ?)",
  );
  const remove = database.prepare("DELETE FROM sealed_state WHERE vm_id = ?");
  const toSealed = (row: unknown): SealedState => {
    const { vm_id: vmId, counter, generation, wrapped_key: wrappedKey } = rowSchema.parse(row);
    return { vmId, counter, generation, wrappedKey };
  };
  return {
    find: (vmId) => {
      const row = find.get(vmId);
      return row === undefined ? undefined : toSealed(row);
    },
    insert: ({ vmId, counter, generation, wrappedKey }) => void insert.run(vmId, counter, generation, wrappedKey),
    delete: (vmId) => void remove.run(vmId),
    fileNames: () => new Set(all.all().map((row) => sealedFileName(toSealed(row)))),
  };
}

/** What the data key is bound to, and the file is named by. */
export function sealedObjectId({ vmId, counter }: Pick<SealedState, "vmId" | "counter">): string {
  return `${vmId}-${counter}`;
}

export function sealedFileName(sealed: Pick<SealedState, "vmId" | "counter">): string {
  return `${sealedObjectId(sealed)}.sealed`;
}
