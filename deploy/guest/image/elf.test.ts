import assert from "node:assert/strict";
import { test } from "node:test";
import { loadablePart } from "./elf.ts";

/** An ELF64 header, one program header that covers 200 bytes, then what is not loaded. */
function executable(): Buffer {
  const elf = Buffer.alloc(400, 0xee);
  elf.fill(0, 0, 120);
  elf.writeUInt32BE(0x7f454c46, 0);
  elf[4] = 2;
  elf[5] = 1;
  elf.writeBigUInt64LE(64n, 32);
  elf.writeBigUInt64LE(336n, 40);
  elf.writeUInt16LE(56, 54);
  elf.writeUInt16LE(1, 56);
  elf.writeUInt16LE(1, 60);
  elf.writeBigUInt64LE(0n, 64 + 8);
  elf.writeBigUInt64LE(200n, 64 + 32);
  return elf;
}

test("what segments cover stays, the rest and the section table go", () => {
  const part = loadablePart(executable());
  assert.equal(part.length, 200);
  assert.equal(part.readBigUInt64LE(40), 0n);
  assert.equal(part.readUInt16LE(60), 0);
  assert.deepEqual(part.subarray(64), executable().subarray(64, 200));
});

test("a file that is cut off or not ELF is refused", () => {
  assert.throws(() => loadablePart(executable().subarray(0, 150)));
  assert.throws(() => loadablePart(Buffer.alloc(100)));
});
