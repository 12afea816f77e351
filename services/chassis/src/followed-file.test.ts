import assert from "node:assert/strict";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { z } from "zod";
import { followFile } from "./followed-file.ts";
import { createLogger } from "./logger.ts";

const directory = mkdtempSync(join(tmpdir(), "lobsterd-followed-"));
after(() => rmSync(directory, { recursive: true }));

function follow(name: string, unread?: number) {
  const path = join(directory, name);
  const lines: string[] = [];
  const write = (line: string) => {
    const { level, message } = JSON.parse(line) as { level: string; message: string };
    lines.push(`${level} ${message}`);
  };
  let nowMs = 0;
  const open = () =>
    followFile(path, "number", z.number().parse, createLogger({ service: "t" }, { write }), () => nowMs, unread);
  const read = open();
  return {
    path,
    lines,
    /** What counts when a second has passed. */
    later: () => {
      nowMs += 1000;
      return read();
    },
  };
}

const wrong = "error number file is not usable, keeping what was read before";

test("a file that may come later is no error until it was there once", () => {
  const { path, lines, later } = follow("later", 0);
  assert.deepEqual([later(), later()], [0, 0]);
  assert.deepEqual(lines, ["info number file is not there yet"]);
  writeFileSync(path, "1");
  assert.equal(later(), 1);
  rmSync(path);
  assert.deepEqual([later(), later()], [1, 1]);
  assert.deepEqual(lines.slice(1), [wrong]);
});

test("a file that becomes wrong keeps what was read last, and counts again once it is right", () => {
  writeFileSync(join(directory, "changed"), "1");
  const { path, lines, later } = follow("changed");
  writeFileSync(path, '"one"');
  assert.deepEqual([later(), later()], [1, 1]);
  assert.deepEqual(lines, [wrong]);
  writeFileSync(path, "23");
  assert.equal(later(), 23);
});

test("a link is not followed, and a first file that has to be there has to be right", () => {
  writeFileSync(join(directory, "target"), "1");
  symlinkSync(join(directory, "target"), join(directory, "link"));
  assert.throws(() => follow("link"), /ELOOP/);
  assert.throws(() => follow("missing"), /ENOENT/);
  const { lines, later } = follow("link", 0);
  assert.deepEqual([later(), lines], [0, [wrong]]);
});
