import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { decryptSectors, encryptSectors } from "../launcher/disk-cipher.ts";
import { changeDiskKey } from "./change-disk-key.ts";

const sector = 4096;
const [from, to, plain] = [randomBytes(64), randomBytes(64), randomBytes(4 * sector)];

/** In two pieces, of which the second begins at a later sector. */
function change(disk: Buffer, source: Uint8Array | undefined): Buffer {
  const next = changeDiskKey(source, to);
  return Buffer.concat([next(disk.subarray(0, sector)), next(disk.subarray(sector))]);
}

test("what was under one key is under the other, and a sector that was never written stays so", () => {
  const disk = encryptSectors(from, 0, plain);
  disk.fill(0, 2 * sector, 3 * sector);
  const changed = change(disk, from);
  const opened = decryptSectors(to, 0, changed);
  for (const index of [0, 1, 3])
    assert.ok(
      opened
        .subarray(index * sector, (index + 1) * sector)
        .equals(plain.subarray(index * sector, (index + 1) * sector)),
    );
  assert.ok(changed.subarray(2 * sector, 3 * sector).equals(Buffer.alloc(sector)));
});

test("of a plain disk zeros are data too", () => {
  const disk = Buffer.concat([plain, Buffer.alloc(sector)]);
  const changed = change(disk, undefined);
  assert.deepEqual(decryptSectors(to, 0, changed), disk);
});
