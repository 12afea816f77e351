import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { release } from "./release.ts";

test("memory that is a buffer's own is gone at once, and nobody else's ever", () => {
  const own = Buffer.alloc(64 * 1024, 1);
  const view = own.subarray(1);
  release(own);
  assert.deepEqual([own.length, view.length], [0, 0]);
  const lent = randomBytes(64 * 1024);
  release(lent.subarray(1));
  assert.equal(lent.length, 64 * 1024);
  const pooled = Buffer.from("in the pool of small buffers");
  release(pooled);
  assert.equal(pooled.toString(), "in the pool of small buffers");
  release(Buffer.alloc(0));
  release(new Uint8Array(new SharedArrayBuffer(8)));
});
