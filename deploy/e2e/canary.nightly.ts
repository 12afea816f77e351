import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { describeInstance, serviceNames } from "../dev/instance.ts";
import { configPath } from "../dev/processes.ts";
import { openStack } from "../dev/stack.ts";
import { runCanaries, summarize } from "./canary/run.ts";
import { evict, instance } from "./subject.ts";

const stack = openStack(describeInstance(instance));

/** Every service says all it can. */
async function logAt(level: string): Promise<void> {
  for (const name of serviceNames) {
    const path = configPath(stack.instance, name);
    const configuration = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...configuration, logLevel: level }));
    await stack.restart(name);
    await stack.waitHealthy(name);
  }
}

before(() => logAt("trace"));
after(async () => {
  await evict("canary-a");
  await logAt("info");
});

test("64 secrets through put, bind, inject, rotate and evict, with kill -9 in the middle of each, stand nowhere: 0 hits", async (t) => {
  const { hits, searched, rotations } = await runCanaries(stack, 64, { kills: true });
  t.diagnostic(`searched ${JSON.stringify(searched)}`);
  t.diagnostic(summarize(rotations));
  assert.deepEqual(hits, []);
  for (const [kind, amount] of Object.entries(searched)) assert.ok(amount > 0, kind);
});
