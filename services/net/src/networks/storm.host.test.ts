import assert from "node:assert/strict";
import { test } from "node:test";
import { cannotRun } from "../testing/ground.ts";
import { storm } from "../testing/storm.ts";

test("50 attaches and detaches at once for 4 s", { skip: cannotRun }, async (context) => {
  const answered = await storm(4000);
  context.diagnostic(`${answered} calls were answered right`);
  assert.ok(answered > 40, `only ${answered} calls were answered`);
});
