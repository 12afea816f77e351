/** A process that never stops writing: consecutive numbers, one a line, each on the disk before the next. */
import { open, readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

const path = "/var/tmp/numbers";
const pauseMs = 20;
let isWriting = false;
/** The next number, which is in this process's memory only. */
let next = 0;

async function writeOn(): Promise<void> {
  await using file = await open(path, "a");
  for (;;) {
    await file.appendFile(`${next}\n`);
    await file.sync();
    next += 1;
    await delay(pauseMs);
  }
}

/** Begins, the first time, and tells how many numbers were written and which lines of the file are not the number that belongs there. */
export async function keepWriting(): Promise<{ written: number; lines: number; wrong: readonly number[] }> {
  if (!isWriting) {
    isWriting = true;
    void writeOn();
  }
  const written = next;
  const text = await readFile(path, "utf8").catch(() => "");
  const lines = text.split("\n").slice(0, -1);
  const wrong = lines.flatMap((line, index) => (line === String(index) ? [] : [index]));
  return { written, lines: lines.length, wrong: wrong.slice(0, 10) };
}
