import assert from "node:assert/strict";
import { test } from "node:test";
import { createOutputRing } from "./output-ring.ts";

test("the newest bytes are kept and every other one is counted, whatever the chunks", () => {
  for (const chunkBytes of [1, 3, 64, 99, 100, 101, 250, 1000]) {
    const ring = createOutputRing(100);
    const all = Buffer.from(Array.from({ length: 1000 }, (_, at) => (at % 7 === 0 ? 10 : 97 + (at % 26))));
    for (let from = 0; from < all.length; from += chunkBytes) {
      ring.write(all.subarray(from, from + chunkBytes));
      const seen = all.subarray(0, from + chunkBytes);
      assert.deepEqual(ring.contents(), seen.subarray(Math.max(0, seen.length - 100)));
      assert.equal(ring.keptBytes + ring.droppedBytes, seen.length);
      const lines = (bytes: Buffer) => bytes.filter((byte) => byte === 10).length;
      assert.equal(ring.keptLines, lines(ring.contents()));
      assert.equal(ring.droppedLines, lines(seen) - ring.keptLines);
    }
  }
});

test("of ten million lines 4 MiB are kept, and the rest is counted exactly", () => {
  const ring = createOutputRing(4 * 1024 * 1024);
  const lines = Buffer.from("a line of a log\n".repeat(10_000));
  for (let round = 0; round < 1_000; round++) ring.write(lines);
  assert.equal(ring.keptBytes, 4 * 1024 * 1024);
  assert.equal(ring.droppedBytes, 10_000_000 * 16 - 4 * 1024 * 1024);
  assert.equal(ring.keptLines, (4 * 1024 * 1024) / 16);
  assert.equal(ring.droppedLines, 10_000_000 - (4 * 1024 * 1024) / 16);
});

test("a machine that says little costs little", () => {
  const before = process.memoryUsage().arrayBuffers;
  const rings = Array.from({ length: 100 }, () => createOutputRing(4 * 1024 * 1024));
  for (const ring of rings) ring.write(Buffer.from("one\n"));
  assert.ok(process.memoryUsage().arrayBuffers - before < rings.length * 64 * 1024);
  assert.ok(rings.every((ring) => ring.keptBytes === 4));
});

test("a line is one record and harmless to a terminal, whoever wrote it", () => {
  const ring = createOutputRing(64 * 1024);
  ring.write(Buffer.from('first\nx\u001b[2J\u0007\r"} {"level":50}\\\0\u2028\nlast'));
  assert.deepEqual(ring.tail(2), ['x\\x1b[2J\\x07\\x0d"} {"level":50}\\\\\\x00\\xe2\\x80\\xa8', "last"]);
  assert.deepEqual(ring.tail(9).length, 3);
  ring.write(Buffer.from(`\n${"\u001b".repeat(5_000)}\n`));
  const [long = ""] = ring.tail(1);
  assert.ok(long.length <= 1024 && long.endsWith("..."), `${long.length}`);
  assert.deepEqual(createOutputRing(10).tail(3), []);
});
