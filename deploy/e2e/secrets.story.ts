import assert from "node:assert/strict";
import { after, test } from "node:test";
import { describeInstance } from "../dev/instance.ts";
import { openStack } from "../dev/stack.ts";
import { runCanaries, summarize } from "./canary/run.ts";
import { evict, instance } from "./subject.ts";

after(() => evict("canary-a"));

test("secrets reach a guest and follow it while it runs, and stand nowhere else on the way", async (t) => {
  const stack = openStack(describeInstance(instance));
  const { hits, searched, rotations } = await runCanaries(stack, 12, { kills: false });
  t.diagnostic(`searched ${JSON.stringify(searched)}`);
  t.diagnostic(summarize(rotations));
  assert.deepEqual(hits, []);
  for (const [kind, amount] of Object.entries(searched)) assert.ok(amount > 0, kind);
});
