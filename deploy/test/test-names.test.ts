import assert from "node:assert/strict";
import { test } from "node:test";
import { namesTest } from "./test-names.ts";

const source = `describe("a log", () => {
  // a tenant's log
  it("is whole", () => undefined);
  it('says "no"', () => undefined);
  it(\`is cut when \${step} of a write ends\`, () => undefined);
});`;

test("a test is named by its name, how it begins, its suite before it, or what a template can become", () => {
  const names = [
    "is whole",
    "is wh",
    "a log is whole",
    'says "no"',
    "is cut when a flush of a write ends",
    "a log is cut when x of a write ends",
  ];
  assert.deepEqual(
    names.filter((name) => !namesTest(source, name)),
    [],
  );
});

test("what stands nowhere names no test", () => {
  for (const name of ["is whole again", "a log is gone", "is cut when a flush of a read ends"])
    assert.ok(!namesTest(source, name), name);
});
