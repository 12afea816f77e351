import assert from "node:assert/strict";
import { test } from "node:test";
import { LineSplitter } from "./line-splitter.ts";
import { LogRing, maximumLines } from "./log-ring.ts";

const { signal } = new AbortController();

async function linesOf(ring: LogRing, tailLines = 0): Promise<string[]> {
  const found: string[] = [];
  for await (const { line } of ring.read({ tailLines, follow: false, signal })) found.push(line);
  return found;
}

test("the last lines are kept, and a reader may begin with fewer", async () => {
  const ring = new LogRing();
  for (let index = 0; index < maximumLines + 5; index += 1) ring.append(`line ${index}`);
  const lines = await linesOf(ring);
  assert.equal(lines.length, maximumLines);
  assert.equal(lines[0], "line 5");
  assert.deepEqual(await linesOf(ring, 2), [`line ${maximumLines + 3}`, `line ${maximumLines + 4}`]);
});

test("long lines are cut to what the contract allows, and many of them to 1 MiB", async () => {
  const ring = new LogRing();
  for (let index = 0; index < 300; index += 1) ring.append("é".repeat(10_000));
  const lines = await linesOf(ring);
  for (const line of lines) assert.ok(Buffer.byteLength(line) <= 8192);
  assert.ok(lines.reduce((bytes, line) => bytes + Buffer.byteLength(line), 0) <= 1024 * 1024);
  assert.ok(lines.length > 100);
});

test("who follows gets what comes, and is told what was too fast", async () => {
  const ring = new LogRing();
  const stop = new AbortController();
  ring.append("before");
  const reader = ring.read({ tailLines: 1, follow: true, signal: stop.signal });
  const next = async () => (await reader.next()).value?.line;
  assert.equal(await next(), "before");
  const waiting = next();
  ring.append("after");
  assert.equal(await waiting, "after");
  for (let index = 0; index < maximumLines + 7; index += 1) ring.append(`${index}`);
  assert.equal(await next(), "[7 lines are not kept any more]");
  assert.equal(await next(), "7");
  stop.abort();
  assert.equal((await reader.next()).done, true);
});

test("output without line ends does not pile up", () => {
  const lines: string[] = [];
  const splitter = new LineSplitter((line) => lines.push(line));
  splitter.push(Buffer.from("one\ntw"));
  splitter.push(Buffer.from("o\n\nthree"));
  assert.deepEqual(lines, ["one", "two", ""]);
  splitter.end();
  assert.equal(lines.at(-1), "three");
  for (let index = 0; index < 100; index += 1) splitter.push(Buffer.alloc(10_000, "x"));
  assert.ok(lines.length >= 104, `${lines.length} lines`);
  for (const line of lines) assert.ok(line.length <= 8_000);
});
