import assert from "node:assert/strict";
import { test } from "node:test";
import { parseJsonAnswer } from "./json-answer.ts";

const parse = (text: string) => parseJsonAnswer(Buffer.from(text, "latin1"));
const nested = (depth: number) => `${'{"a":['.repeat(depth / 2)}${"]}".repeat(depth / 2)}`;

test("sixteen levels are read, and one more is refused before anything is built", () => {
  assert.deepEqual(parse(nested(2)), { a: [] });
  assert.ok(parse(nested(16)));
  for (const text of [`[${nested(16)}]`, nested(18), "[".repeat(200_000)]) {
    assert.throws(() => parse(text), { reason: "INVALID_ANSWER", message: /deeper than 16/ });
  }
});

test("brackets in strings are text", () => {
  const text = JSON.stringify({ text: `"\\${"[{".repeat(100)}\\\\"`, "[[[[[[[[[[[[[[[[[[": 1 });
  assert.deepEqual(parse(text), JSON.parse(text));
});

test("what is no JSON, or no UTF-8, is refused", () => {
  for (const text of ["", "{", "[}", '"\xff"', "nul", "{}{}", "]]]]", '"\\"']) {
    assert.throws(() => parse(text), { reason: "INVALID_ANSWER" }, text);
  }
});
