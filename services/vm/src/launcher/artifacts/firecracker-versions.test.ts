import assert from "node:assert/strict";
import { test } from "node:test";
import { judge, readVersionTable, type VersionQuestion } from "./firecracker-versions.ts";

const production: VersionQuestion = { pci: false, production: true };
const withPci: VersionQuestion = { pci: true, production: true };
const development: VersionQuestion = { pci: false, production: false };

const verdict = (text: string, question: VersionQuestion) => {
  const found = judge(text, question);
  return found.ok ? "ok" : found.reason;
};

/** Version; in production; in production with --enable-pci; in development. */
const cases: readonly (readonly [string, string, string, string])[] = [
  ["1.16.1", "ok", "ok", "ok"],
  ["v1.16.1", "ok", "ok", "ok"],
  ["1.16.0", "NOT_PINNED", "NOT_PINNED", "ok"],
  ["1.16.2", "NOT_PINNED", "NOT_PINNED", "ok"],
  ["1.17.0", "NOT_PINNED", "NOT_PINNED", "ok"],
  ["2.0.0", "NOT_PINNED", "NOT_PINNED", "ok"],
  ["0.25.2", "KNOWN_BAD", "KNOWN_BAD", "KNOWN_BAD"],
  ["1.13.0", "KNOWN_BAD", "KNOWN_BAD", "KNOWN_BAD"],
  ["1.13.1", "KNOWN_BAD", "KNOWN_BAD", "KNOWN_BAD"],
  ["1.13.2", "BELOW_FLOOR", "KNOWN_BAD", "BELOW_FLOOR"],
  ["1.14.0", "KNOWN_BAD", "KNOWN_BAD", "KNOWN_BAD"],
  ["1.14.1", "BELOW_FLOOR", "KNOWN_BAD", "BELOW_FLOOR"],
  ["1.14.3", "BELOW_FLOOR", "KNOWN_BAD", "BELOW_FLOOR"],
  ["1.14.4", "BELOW_FLOOR", "BELOW_FLOOR", "BELOW_FLOOR"],
  ["1.15.0", "BELOW_FLOOR", "KNOWN_BAD", "BELOW_FLOOR"],
  ["1.15.1", "BELOW_FLOOR", "BELOW_FLOOR", "BELOW_FLOOR"],
  ["1.9.1", "KNOWN_BAD", "KNOWN_BAD", "KNOWN_BAD"],
  ["1.15.1-dev", "NOT_A_RELEASE", "NOT_A_RELEASE", "NOT_A_RELEASE"],
  ["1.16.1-dirty", "NOT_A_RELEASE", "NOT_A_RELEASE", "NOT_A_RELEASE"],
  ["v1.16.1-12-g2038188f", "NOT_A_RELEASE", "NOT_A_RELEASE", "NOT_A_RELEASE"],
  ["1.16.1+local", "NOT_A_RELEASE", "NOT_A_RELEASE", "NOT_A_RELEASE"],
  ["1.16", "MALFORMED", "MALFORMED", "MALFORMED"],
  ["1.16.1.1", "MALFORMED", "MALFORMED", "MALFORMED"],
  ["01.16.1", "MALFORMED", "MALFORMED", "MALFORMED"],
  ["1.16.1\n", "MALFORMED", "MALFORMED", "MALFORMED"],
  [" 1.16.1", "MALFORMED", "MALFORMED", "MALFORMED"],
  ["1.16.999999", "MALFORMED", "MALFORMED", "MALFORMED"],
  ["", "MALFORMED", "MALFORMED", "MALFORMED"],
];

for (const [text, inProduction, pci, inDevelopment] of cases) {
  test(`Firecracker ${JSON.stringify(text)} is ${inProduction} in production`, () => {
    assert.deepEqual(
      [verdict(text, production), verdict(text, withPci), verdict(text, development)],
      [inProduction, pci, inDevelopment],
    );
  });
}

test("a refusal names the advisory", () => {
  const found = judge("1.14.0", production);
  assert.ok(!found.ok && found.message.includes("CVE-2026-1386"), JSON.stringify(found));
});

test("the advisory decides, not the floor: a table whose floor is low still refuses what is known to be bad", () => {
  const table = readVersionTable();
  const low = { ...table, floor: { ...table.floor, version: "1.0.0" }, pinned: { ...table.pinned, version: "1.14.3" } };
  const judged = (text: string, pci: boolean) => judge(text, { pci, production: false }, low).ok;
  assert.deepEqual(
    ["1.13.1", "1.13.2", "1.14.0", "1.14.1", "1.14.3", "1.14.4", "1.15.0", "1.15.1"].map((text) => judged(text, false)),
    [false, true, false, true, true, true, true, true],
  );
  assert.deepEqual(
    ["1.13.1", "1.13.2", "1.14.0", "1.14.1", "1.14.3", "1.14.4", "1.15.0", "1.15.1"].map((text) => judged(text, true)),
    [false, false, false, false, false, true, false, true],
  );
});

test("a new entry in the table refuses the pinned version too", () => {
  const table = readVersionTable();
  const [first] = table.bad;
  assert.ok(first !== undefined);
  const entry = { ...first, id: "CVE-2099-1", ranges: [{ first: "1.16.0", last: "1.16.1" }] };
  const found = judge("1.16.1", production, { ...table, bad: [...table.bad, entry] });
  assert.ok(!found.ok && found.reason === "KNOWN_BAD");
});

test("the table's own pinned version passes its own judgement", () => {
  assert.deepEqual(judge(readVersionTable().pinned.version, production), { ok: true, version: "1.16.1" });
});
