import { createReadStream, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { readNotes } from "../witness/read-notes.ts";

/**
 * The signed notes that stand in files, or in the `.notes` files of directories, at the moment of the call, oldest file first. Notes that are
 * added later are not among them: they may cover records that a reading of the log, begun in between, has not seen.
 */
export function notesNow(paths: readonly string[]): AsyncGenerator<string> {
  const files = paths.flatMap(noteFiles).map((path) => ({ path, bytes: statSync(path).size }));
  return notesOf(files.filter(({ bytes }) => bytes > 0));
}

async function* notesOf(files: readonly { readonly path: string; readonly bytes: number }[]): AsyncGenerator<string> {
  for (const { path, bytes } of files) {
    const input = createReadStream(path, { end: bytes - 1 });
    yield* readNotes(createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }));
  }
}

function noteFiles(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  const names = readdirSync(path).filter((name) => name.endsWith(".notes"));
  if (names.length === 0) throw new Error(`there is no .notes file in ${path}`);
  return names.sort().map((name) => join(path, name));
}
