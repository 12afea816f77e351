import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { openDirectoryStore } from "./directory.ts";
import { openHttpsStore } from "./https.ts";
import { openNewestFile, readNewestFile } from "./newest-file.ts";
import { readNotes } from "./read-notes.ts";

const { signal } = new AbortController();
const note = (number: number) => `origin\n${number}\nroot\n\n\u2014 origin signature${number}\n`;

function directoryFor(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "lobsterd-witness-"));
  context.after(() => rmSync(path, { recursive: true }));
  return path;
}

async function* linesOf(path: string) {
  yield* readFileSync(path, "utf8").split("\n");
}

describe("a witness directory", () => {
  it("gets notes appended, a file for each day, and they are read back in order", async (context) => {
    const directory = directoryFor(context);
    const clock = { ms: Date.UTC(2026, 10, 26, 23, 59) };
    const store = openDirectoryStore(directory, () => clock.ms);
    await store.put([note(1), note(2)], signal);
    await store.put([note(3)], signal);
    clock.ms += 120_000;
    await store.put([note(4)], signal);
    const files = readdirSync(directory).sort();
    assert.deepEqual(files, ["checkpoints-2026-11-26.notes", "checkpoints-2026-11-27.notes"]);
    const notes = await Array.fromAsync(readNotes(linesOf(join(directory, files[0] ?? ""))));
    assert.deepEqual(notes, [note(1), note(2), note(3)]);
  });

  it("has whole notes after what a crash left of one", async (context) => {
    const directory = directoryFor(context);
    const store = openDirectoryStore(directory, () => 0);
    const path = join(directory, "checkpoints-1970-01-01.notes");
    for (let length = 0; length < note(1).length; length += 1) {
      appendFileSync(path, `\n${note(1).slice(0, length)}`);
      await store.put([note(2)], signal);
      assert.deepEqual((await Array.fromAsync(readNotes(linesOf(path)))).at(-1), note(2), `after ${length} bytes`);
    }
  });
});

describe("the newest checkpoint on this host", () => {
  it("is the last one, in a file of its owner, and absent before the first", async (context) => {
    const path = join(directoryFor(context), "checkpoint.note");
    assert.equal(readNewestFile(path), undefined);
    await openNewestFile(path).put([note(1), note(2)], signal);
    assert.equal(readNewestFile(path), note(2));
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });
});

describe("a witness URL", () => {
  it("has to be https", () => {
    assert.throws(() => openHttpsStore("http://witness.test/", undefined), /by https/);
  });
});
