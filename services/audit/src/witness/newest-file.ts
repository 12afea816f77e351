import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import { maxNoteBytes } from "../tree/signed-note.ts";
import type { CheckpointStore } from "./store.ts";

/** Keeps the newest note in the file at `path`: what the next start holds the log against. Not a witness, since it is on this host. */
export function openNewestFile(path: string): CheckpointStore {
  return {
    kind: "file",
    name: `file ${path}`,
    async put(notes) {
      const fresh = `${path}.new`;
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
      const file = await open(fresh, flags, 0o600);
      try {
        await file.writeFile(notes.at(-1) ?? "");
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(fresh, path);
    },
  };
}

/** The note in the file, or `undefined` if there is no file. Throws if it is longer than a note. */
export function readNewestFile(path: string): string | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
  try {
    const note = readFileSync(descriptor);
    if (note.length > maxNoteBytes) throw new Error(`${path} is longer than a checkpoint`);
    return note.toString("utf8");
  } finally {
    closeSync(descriptor);
  }
}
