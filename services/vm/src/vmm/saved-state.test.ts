import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import { release } from "@lobsterd/chassis/release.ts";
import { frameState, maxFrameBytes, unframeState } from "./saved-state.ts";

const description = {
  ...{ vmm: "qemu", version: "7.2.0", accelerator: "tcg", productionBoundary: false },
  ...{ cores: 2, memoryMib: 1024 },
};
const chunks = (bytes: Buffer, size: number): Buffer[] =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
    bytes.subarray(index * size, (index + 1) * size),
  );
const frame = (bytes: Buffer, size = bytes.length): Promise<Buffer> =>
  buffer(frameState(description, Readable.from(chunks(bytes, size)), async () => {}));
const unframe = (framed: Buffer, size = framed.length, own = description): Promise<Buffer> =>
  buffer(unframeState(own, Readable.from(chunks(framed, size))));
const refused = (reason: string) => (error: unknown) => error instanceof ServiceError && error.reason === reason;

const small = Buffer.from("memory and devices");

test("what was framed comes out again, in whatever pieces it came", async () => {
  const large = randomBytes(2 * maxFrameBytes + 7);
  for (const [state, written, read] of [
    [small, 1, 1],
    [small, 5, 1000],
    [large, large.length, 65_536],
    [large, 100_000, large.length * 2],
    [Buffer.alloc(0), 1, 3],
  ] as const)
    assert.ok((await unframe(await frame(state, written), read)).equals(state));
});

test("the pieces of a framed state may be given back as they are taken, for this state and the next", async () => {
  for (let round = 0; round < 2; round++) {
    const taken: Buffer[] = [];
    for await (const piece of frameState(description, Readable.from([randomBytes(100)]), async () => {})) {
      taken.push(Buffer.from(piece));
      release(piece);
    }
    assert.equal((await unframe(Buffer.concat(taken))).length, 100);
  }
});

test("a state that is cut off at any byte, or has any byte behind it, is refused", async () => {
  const framed = await frame(small, 7);
  for (let length = 0; length < framed.length; length += 1)
    await assert.rejects(unframe(framed.subarray(0, length), 16), refused("VMM_FAILED"), String(length));
  await assert.rejects(unframe(Buffer.concat([framed, Buffer.of(0)])), refused("VMM_FAILED"));
});

test("a state that its VMM did not complete has no end", async () => {
  const incomplete = () => Promise.reject(new Error("it failed"));
  const received: Buffer[] = [];
  const reading = async () => {
    for await (const piece of frameState(description, Readable.from([small]), incomplete)) received.push(piece);
  };
  await assert.rejects(reading(), /it failed/);
  await assert.rejects(unframe(Buffer.concat(received)), refused("VMM_FAILED"));
});

test("a state of another VMM is told before its first byte, and a length that nobody writes is refused", async () => {
  const framed = await frame(small);
  for (const own of [
    { ...description, vmm: "firecracker" },
    { ...description, version: "8.0.0" },
    { ...description, accelerator: "kvm" },
  ])
    await assert.rejects(unframe(framed, 1000, own), refused("MACHINE_MISMATCH"));
  assert.ok((await unframe(framed, 1000, { ...description, cores: 64 })).equals(small));
  for (const at of [17, framed.length - 4 - small.length - 4]) {
    const long = Buffer.from(framed);
    long.writeUInt32BE(0xffff_ffff, at);
    await assert.rejects(unframe(long), refused("VMM_FAILED"), String(at));
  }
  const header = Buffer.from(framed);
  header.write("x", 21);
  await assert.rejects(unframe(header), refused("VMM_FAILED"));
});
