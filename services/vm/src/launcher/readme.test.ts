import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { channels, reasons, verbArguments } from "./protocol.ts";

const page = readFileSync(`${import.meta.dirname}/README.md`, "utf8");
const architecture = readFileSync(`${import.meta.dirname}/../../../../docs/architecture.md`, "utf8");

const [, verbsSection = ""] = page.split(/^## Verbs$/m);
/** The names in back quotes of the first two cells of each row of the table of verbs. */
const table = new Map(
  [
    ...verbsSection
      .split(/^## /m, 1)
      .join()
      .matchAll(/^\| `(\w+)` \|([^|]*)\|/gm),
  ].map(([, verb = "", cell = ""]) => [verb, [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name)]),
);

test("the page has a row for every verb, with exactly its arguments", () => {
  const verbs = Object.entries(verbArguments).map(([verb, schema]) => [verb, Object.keys(schema.shape)]);
  assert.deepEqual(Object.fromEntries(table), Object.fromEntries(verbs));
});

test("the page names every reason, and the architecture page every verb and channel", () => {
  for (const reason of reasons) assert.match(page, new RegExp(`\\b${reason}\\b`));
  for (const name of [...Object.keys(verbArguments), ...channels])
    assert.ok(architecture.includes(`\`${name}\``), name);
});

test("no argument is a path, a uid or a command", () => {
  const names = new Set(Object.values(verbArguments).flatMap((schema) => Object.keys(schema.shape)));
  const known =
    "vmId slot image overlayMib diskKey vcpuCount memoryMib generation identityDrive useTemplate channel".split(" ");
  assert.deepEqual([...names].sort(), known.sort());
  for (const hostile of ["../../etc", "/etc/shadow", "a/b", "-rf", "A".repeat(32), ""]) {
    assert.ok(!verbArguments.inspect.safeParse({ vmId: hostile }).success, hostile);
    assert.ok(!verbArguments.prepare.shape.image.safeParse(hostile).success, hostile);
    assert.ok(!verbArguments.connect.shape.channel.safeParse(hostile).success, hostile);
  }
});
