/** An ablation that does not apply any more shows nothing. Whether its test goes red is shown by `make ablation`, which takes its time. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { type Ablation, sourcesWithout } from "@lobsterd/chassis/testing-control-removal.ts";
import { namesTest } from "./test-names.ts";

const checkout = join(import.meta.dirname, "../..");
const files = globSync("{services,deploy}/**/*.ablation.ts", { cwd: checkout, exclude: ["**/node_modules/**"] }).sort();

/** The others take something away from what runs, and have no list. */
const lists = files.filter((file) => /^export const ablations\b/m.test(readFileSync(join(checkout, file), "utf8")));

/** What a test file says, and what it takes from files beside it, such as the cases that several files share. */
function textsOf(file: string): readonly string[] {
  const text = readFileSync(join(checkout, file), "utf8");
  const beside = [...text.matchAll(/from "(\.[^"]*)"/g)].map(([, path = ""]) => join(dirname(file), path));
  return [text, ...beside.map((path) => readFileSync(join(checkout, path), "utf8"))];
}

for (const file of lists) {
  const { ablations }: { ablations: readonly Ablation[] } = await import(join(checkout, file));
  describe(file, () => {
    assert.ok(ablations.length > 0);
    for (const { control, removals, noticedBy } of ablations) {
      test(control, () => {
        for (const [path, text] of sourcesWithout(removals)) {
          assert.notEqual(text, readFileSync(join(checkout, path), "utf8"), `${path} is not changed`);
        }
        const isThere = textsOf(noticedBy.file).some((text) => namesTest(text, noticedBy.name));
        assert.ok(isThere, `${noticedBy.file} has no test "${noticedBy.name}"`);
      });
    }
  });
}

test("no list of ablations is overlooked", () => assert.ok(lists.length >= 20, lists.join("\n")));
