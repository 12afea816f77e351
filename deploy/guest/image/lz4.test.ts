import assert from "node:assert/strict";
import { test } from "node:test";
import { unpackLegacyLz4 } from "./lz4.ts";

function frame(...block: number[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184c2102, 0);
  head.writeUInt32LE(block.length, 4);
  return Buffer.concat([head, Buffer.from(block)]);
}

const [a, b, c] = [0x61, 0x62, 0x63];

test("literals and an overlapping match are unpacked", () => {
  // "ab", then 8 bytes from 2 back, then "c" as the last literals.
  assert.equal(unpackLegacyLz4(frame(0x24, a, b, 2, 0, 0x10, c), 11).toString(), "abababababc");
});

test("lengths beyond a nibble are added up", () => {
  assert.equal(unpackLegacyLz4(frame(0x1f, a, 1, 0, 255, 1, 0x10, b), 277).toString(), `${"a".repeat(276)}b`);
});

test("what leaves its bounds is refused", () => {
  assert.throws(() => unpackLegacyLz4(frame(0x24, a, b, 3, 0, 0x10, c), 11), /out of bounds/);
  assert.throws(() => unpackLegacyLz4(frame(0x24, a, b, 0, 0, 0x10, c), 11), /out of bounds/);
  assert.throws(() => unpackLegacyLz4(frame(0x24, a, b, 2, 0, 0x10, c), 5), /out of bounds/);
  assert.throws(() => unpackLegacyLz4(frame(0xf0), 11), /cut off|out of bounds/);
  assert.throws(() => unpackLegacyLz4(Buffer.alloc(16), 11), /not an lz4/);
});
