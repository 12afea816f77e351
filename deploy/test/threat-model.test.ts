import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const docs = join(import.meta.dirname, "../../docs");
const rows = readFileSync(join(docs, "threat-model.md"), "utf8")
  .split("\n")
  .filter((line) => /^\| [A-H]\d \|/.test(line))
  .map((line) => line.split("|").map((cell) => cell.trim()));

test("the threat model has a row for each attacker's position of the controls", () => {
  const positions = rows.map(([, position]) => position);
  assert.deepEqual(positions.sort(), [
    ...["A1", "A2", "A3", "A4", "A5", "A6", "B1", "B2", "B3", "C1", "C2"],
    ...["D1", "D2", "D3", "D4", "D5", "E1", "F1", "G1", "G2", "H1"],
  ]);
});

for (const [, position, , , proof = ""] of rows) {
  test(`${position}: each test that the threat model names is in its file`, () => {
    const files = proof.split(/; (?=\[)/);
    assert.ok(files.length > 0);
    for (const file of files) {
      const [, name, target = "", quoted = ""] = /^\[`([^`]+)`\]\(([^)]+)\) (".+")$/.exec(file) ?? [];
      assert.ok(existsSync(join(docs, target)), `${position}: ${file}`);
      assert.equal(target.split("/").at(-1), name);
      const source = readFileSync(join(docs, target), "utf8");
      for (const [, title = ""] of quoted.matchAll(/"([^"]+)"/g))
        assert.ok(source.includes(title), `${target} has no ${title}`);
    }
  });
}
