import assert from "node:assert/strict";
import { test } from "node:test";
import { type CpioEntry, writeCpio } from "./cpio.ts";

const entries: readonly CpioEntry[] = [
  { kind: "file", path: "init", mode: 0o755, content: Buffer.from("hello") },
  { kind: "directory", path: "dev", mode: 0o755 },
  { kind: "symlink", path: "bin", target: "usr/bin" },
  { kind: "device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
];

/** Reads an archive back by the format's own rules. */
function readCpio(archive: Buffer) {
  const found: { name: string; mode: number; content: string; device: string; mtime: number; uid: number }[] = [];
  let offset = 0;
  for (;;) {
    assert.equal(archive.toString("latin1", offset, offset + 6), "070701");
    assert.equal(offset % 4, 0);
    const field = (index: number) =>
      Number.parseInt(archive.toString("latin1", offset + 6 + index * 8, offset + 14 + index * 8), 16);
    const name = archive.toString("utf8", offset + 110, offset + 110 + field(11) - 1);
    if (name === "TRAILER!!!") return found;
    const start = (offset + 110 + field(11) + 3) & ~3;
    const content = archive.toString("utf8", start, start + field(6));
    found.push({ name, mode: field(1), content, device: `${field(9)}:${field(10)}`, mtime: field(5), uid: field(2) });
    offset = (start + field(6) + 3) & ~3;
  }
}

test("entries come back as written, directories before what they hold", () => {
  const read = readCpio(writeCpio(entries));
  assert.deepEqual(
    read.map((entry) => [entry.name, entry.mode.toString(8), entry.content, entry.device]),
    [
      ["bin", "120777", "usr/bin", "0:0"],
      ["dev", "40755", "", "0:0"],
      ["dev/console", "20600", "", "5:1"],
      ["init", "100755", "hello", "0:0"],
    ],
  );
  assert.ok(read.every((entry) => entry.mtime === 0 && entry.uid === 0));
});

test("the order of entries does not matter", () => {
  assert.deepEqual(writeCpio(entries), writeCpio([...entries].reverse()));
});

test("absolute and repeated paths are refused", () => {
  assert.throws(() => writeCpio([{ kind: "directory", path: "/dev", mode: 0o755 }]));
  assert.throws(() => writeCpio([...entries, { kind: "directory", path: "dev", mode: 0o755 }]));
});
