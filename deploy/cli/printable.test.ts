import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { describeFailure, failureText } from "./failure.ts";
import { jsonText, printable, printableLines } from "./printable.ts";
import { bytesText } from "./show.ts";
import { renderTable } from "./table.ts";

/** Escape, its one-byte form, carriage return, backspace, delete, direction override, line separator, half a character, a tag. */
const hostile = `\x1b\x9b\r\b\x7f\u202e\u2028${String.fromCharCode(0xd800)}\u{e0041}`;
const spelled = "\\x1b\\x9b\\x0d\\x08\\x7f\\u202e\\u2028\\ud800\\u{e0041}";

test("what a terminal acts on is spelled out, and all else stays", () => {
  assert.equal(printable(`a${hostile}b\n\té 龍 🦞`), `a${spelled}b\\x0a\\x09é 龍 🦞`);
  assert.equal(printableLines(`a${hostile}b\n\té`), `a${spelled}b\n\té`);
});

test("JSON says the same with nothing in it that a terminal acts on", () => {
  const text = jsonText({ [hostile]: `${hostile}🦞` }, 2);
  assert.equal(printableLines(text), text);
  assert.deepEqual(JSON.parse(text), { [hostile]: `${hostile}🦞` });
});

test("a table's cells and a failure's text are printable", () => {
  const table = renderTable([{ heading: "NAME", cell: (row: string) => row }], [hostile, "", "b"]);
  assert.deepEqual(table.split("\n"), ["NAME", spelled, "-", "b", ""]);
  const failure = describeFailure(new ConnectError(hostile, Code.NotFound), false);
  assert.equal(failureText(failure, false), `lobster: ${spelled} (NOT_FOUND)\n`);
});

test("bytes have a unit and at most eight characters", () => {
  const cases = [0n, 1023n, 1024n, 10_240n, 1_048_576n, 1_072_693_248n, 2n ** 63n].map(bytesText);
  assert.deepEqual(cases.slice(0, 5), ["0 B", "1023 B", "1.0 KiB", "10 KiB", "1.0 MiB"]);
  for (const text of cases) assert.ok(text.length <= 8, text);
});
