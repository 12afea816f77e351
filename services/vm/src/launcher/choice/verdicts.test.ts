import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, test } from "node:test";
import { type ProbeQuestion, rememberedVerdict } from "./verdicts.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(`${tmpdir()}/lobsterd-verdicts-`);
});
afterEach(() => rmSync(directory, { recursive: true }));

const question: ProbeQuestion = { vmm: "qemu", bootId: "boot", kernelDigest: "kernel", vmmDigest: "vmm" };
const dead = { alive: false, detail: "no sign of life within 5000 ms" };
const neverAsked = () => Promise.reject(new Error("it was asked again"));

test("the same question is asked once, also of a dead guest", async () => {
  assert.deepEqual(await rememberedVerdict(directory, question, async () => dead), dead);
  assert.deepEqual(await rememberedVerdict(directory, question, neverAsked), dead);
});

for (const change of [
  { bootId: "other" },
  { kernelDigest: "other" },
  { vmmDigest: "other" },
  { vmm: "firecracker" },
] as const) {
  test(`another ${Object.keys(change)} is another question`, async () => {
    await rememberedVerdict(directory, question, async () => dead);
    const alive = { alive: true, detail: "answered" };
    assert.deepEqual(await rememberedVerdict(directory, { ...question, ...change }, async () => alive), alive);
  });
}

for (const text of ["", "{", '{"alive":true}', `{"alive":true,"detail":"${"x".repeat(5000)}"}`]) {
  test(`a file with ${JSON.stringify(text.slice(0, 20))} is no verdict`, async () => {
    writeFileSync(`${directory}/qemu.json`, text);
    assert.deepEqual(await rememberedVerdict(directory, question, async () => dead), dead);
  });
}

test("a probe that failed is not remembered", async () => {
  await assert.rejects(rememberedVerdict(directory, question, neverAsked), /asked again/);
  assert.deepEqual(await rememberedVerdict(directory, question, async () => dead), dead);
});
