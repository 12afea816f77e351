import assert from "node:assert/strict";
import { test } from "node:test";
import { composeDiskMapping } from "./disk-mapping.ts";

const key = Buffer.from(Array.from({ length: 64 }, (_, index) => index));

/** Numbers of linux/dm-ioctl.h: DM_DEV_CREATE, DM_TABLE_LOAD and DM_DEV_SUSPEND, which without a flag lets the device run. */
test("it is three requests: create, load a table of one target, run", () => {
  const mapping = composeDiskMapping(key, 1024);
  const requests = [0, 1, 2].map((index) => mapping.subarray(index * 1024, (index + 1) * 1024));
  assert.equal(mapping.length, 3 * 1024);
  assert.deepEqual(
    requests.map((request) => [request.readBigUInt64LE(0), request.readUInt32LE(8), request.readUInt32LE(8 + 20)]),
    [
      [0xc138fd03n, 4, 0],
      [0xc138fd09n, 4, 1],
      [0xc138fd06n, 4, 0],
    ],
  );
  for (const request of requests) {
    assert.deepEqual([request.readUInt32LE(8 + 12), request.readUInt32LE(8 + 16)], [1016, 312]);
    assert.equal(textAt(request, 8 + 48), "overlay");
  }
});

test("the table is the whole disk through XTS in sectors of 4 KiB, and the kernel clears its copy", () => {
  const table = composeDiskMapping(key, 1024).subarray(1024, 2048);
  assert.equal(table.readUInt32LE(8 + 28) & 0x8000, 0x8000);
  const target = table.subarray(8 + 312);
  assert.deepEqual([target.readBigUInt64LE(0), target.readBigUInt64LE(8)], [0n, 2_097_152n]);
  assert.equal(textAt(target, 24), "crypt");
  const options = "2 sector_size:4096 iv_large_sectors";
  assert.equal(textAt(target, 40), `aes-xts-plain64 ${key.toString("hex")} 0 /dev/vdb 0 ${options}`);
});

function textAt(bytes: Buffer, at: number): string {
  return bytes.toString("latin1", at, bytes.indexOf(0, at));
}
