import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { openTemplateStore, type TemplateStore, templateKey } from "./template-store.ts";

let stateDir: string;
let store: TemplateStore;
let nowMs: number;
const limits = { mode: "on", maxCount: 2, maxMib: 8 } as const;

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), "lobsterd-templates-"));
  nowMs = 0;
  store = openTemplateStore({ stateDir, templates: limits }, () => nowMs);
});
afterEach(async () => {
  for (const key of ["a", "b", "c", "d"]) await store.drop(key);
  rmSync(stateDir, { recursive: true });
});

async function keep(key: string, bytes = 4): Promise<void> {
  const draft = await store.begin(key);
  assert.ok(draft !== undefined, key);
  await draft.file.write(Buffer.alloc(bytes, key));
  await draft.keep();
}

async function read(key: string): Promise<string | undefined> {
  const file = await store.open(key);
  if (file === undefined) return undefined;
  try {
    return (await file.readFile("latin1")).slice(0, 4);
  } finally {
    await file.close();
  }
}

test("a template is read from its start however often, cannot be written where it is read, and has no name", async () => {
  assert.equal(await read("a"), undefined);
  await keep("a");
  assert.deepEqual(readdirSync(join(stateDir, "templates")), []);
  const [one, other] = [await store.open("a"), await store.open("a")];
  assert.ok(one !== undefined && other !== undefined);
  try {
    assert.deepEqual([await one.readFile("latin1"), await other.readFile("latin1")], ["aaaa", "aaaa"]);
    await assert.rejects(one.write("b"), { code: "EBADF" });
  } finally {
    await one.close();
    await other.close();
  }
  await store.drop("a");
  assert.deepEqual([await read("a"), store.count()], [undefined, 0]);
});

test("one is made at a time of each, and one that could not be made is not asked for soon", async () => {
  const draft = await store.begin("a");
  assert.ok(draft !== undefined);
  assert.equal(await store.begin("a"), undefined, "twice at a time");
  assert.equal(await read("a"), undefined, "half made");
  await draft.giveUp();
  assert.equal(await store.begin("a"), undefined, "again");
  nowMs = 600_000;
  await (await store.begin("a"))?.giveUp();
  assert.equal(await store.begin("a"), undefined, "tried again, in vain");
  await keep("b");
  assert.equal(await store.begin("b"), undefined, "there is one");
});

test("the one that was used longest ago makes room, by number and by size", async () => {
  await keep("a");
  await keep("b");
  await read("a");
  await keep("c");
  assert.deepEqual([await read("a"), await read("b"), await read("c")], ["aaaa", undefined, "cccc"]);
  await keep("d", 8 * 1024 * 1024);
  assert.deepEqual([await read("a"), await read("c"), await read("d")], [undefined, undefined, "dddd"]);
  await keep("b", 9 * 1024 * 1024);
  assert.deepEqual([await read("b"), store.count()], [undefined, 0], "larger than all of them may be");
});

test("there is none when they are off, and nothing is left of a launcher that was killed", async () => {
  mkdirSync(join(stateDir, "templates"), { recursive: true });
  writeFileSync(join(stateDir, "templates/1"), "of another launcher");
  const off = openTemplateStore({ stateDir, templates: { ...limits, mode: "off" } });
  assert.equal(await off.begin("a"), undefined);
  assert.deepEqual(readdirSync(join(stateDir, "templates")), []);
});

test("everything that a machine's shape and memory come from is in the key", () => {
  const shape = { imageDirectory: "/state/artifacts/images/aa", vcpuCount: 1, memoryMib: 256, overlayMib: 64 };
  const keys = [
    shape,
    { ...shape, imageDirectory: "/state/artifacts/images/ab" },
    { ...shape, vcpuCount: 2 },
    { ...shape, memoryMib: 512 },
    { ...shape, overlayMib: 128 },
  ].map(templateKey);
  assert.equal(new Set(keys).size, keys.length);
});
