import assert from "node:assert/strict";
import { createCipheriv, randomBytes } from "node:crypto";
import { test } from "node:test";
import { decryptSectors, encryptSectors } from "./disk-cipher.ts";

const key = randomBytes(64);
const plain = Buffer.alloc(3 * 4096, "the same in each sector and block ");

test("each sector is XTS under its own number, so that equal ones differ", () => {
  const cipherText = encryptSectors(key, 7, plain);
  for (const index of [0, 1, 2]) {
    const tweak = Buffer.concat([Buffer.of(7 + index), Buffer.alloc(15)]);
    const sector = plain.subarray(index * 4096, (index + 1) * 4096);
    const alone = createCipheriv("aes-256-xts", key, tweak).update(sector);
    assert.deepEqual(cipherText.subarray(index * 4096, (index + 1) * 4096), alone);
  }
  assert.deepEqual(decryptSectors(key, 7, cipherText), plain);
  assert.notDeepEqual(decryptSectors(key, 8, cipherText), plain);
  assert.notDeepEqual(decryptSectors(randomBytes(64), 7, cipherText), plain);
});

test("a part of a sector is refused", () => {
  assert.throws(() => encryptSectors(key, 0, plain.subarray(1)), RangeError);
});
