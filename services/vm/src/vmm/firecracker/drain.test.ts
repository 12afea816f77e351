import assert from "node:assert/strict";
import { once } from "node:events";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { drain } from "./drain.ts";

const mib = 1024 * 1024;

function source(chunks: number): Duplex {
  let left = chunks;
  return new Duplex({
    read() {
      this.push(left-- > 0 ? Buffer.alloc(64 * 1024) : null);
    },
    write: (_chunk, _encoding, done) => done(),
  });
}

test("everything that comes is read, and the end is told once", async () => {
  const stream = source(10);
  let bytes = 0;
  let ends = 0;
  const ended = new Promise<void>((resolve) => {
    drain(
      stream,
      (chunk) => {
        bytes += chunk.length;
      },
      () => {
        ends += 1;
        resolve();
      },
    );
  });
  await ended;
  assert.deepEqual([bytes, ends, stream.destroyed], [640 * 1024, 1, true]);
});

test("a flood is read at 4 MiB a second and no faster", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const stream = source(1_000_000);
  let bytes = 0;
  drain(
    stream,
    (chunk) => {
      bytes += chunk.length;
    },
    () => {},
  );
  for (const second of [1, 2, 3]) {
    await once(stream, "pause");
    assert.equal(bytes, second * 4 * mib);
    context.mock.timers.tick(1_000);
  }
  stream.destroy();
});

test("a stream that fails ends the drain and nothing else", async () => {
  const stream = source(1_000_000);
  const ended = new Promise<void>((resolve) => drain(stream, () => {}, resolve));
  stream.destroy(new Error("reset"));
  await ended;
});
