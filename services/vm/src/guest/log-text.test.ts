import assert from "node:assert/strict";
import { test } from "node:test";
import { printable } from "./log-text.ts";

test("words stay as they are, and what a terminal obeys or hides is spelled out", () => {
  assert.equal(printable("Grüße, 世界 🦞"), "Grüße, 世界 🦞");
  assert.equal(printable("\u001b]0;title\u0007\r\n\u009b2J"), "\\u001b]0;title\\u0007\\u000d\\u000a\\u009b2J");
  assert.equal(printable("abc\u202edef\u2028ghi"), "abc\\u202edef\\u2028ghi");
});
