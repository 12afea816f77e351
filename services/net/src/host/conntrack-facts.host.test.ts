import assert from "node:assert/strict";
import { test } from "node:test";
import { cannotRun } from "../testing/ground.ts";
import { makeScratch } from "../testing/scratch.ts";

const module = JSON.stringify(new URL("./conntrack-facts.ts", import.meta.url).href);
const program = `
import { writeFileSync } from "node:fs";
const { readConntrackFacts } = await import(${module});
const timeout = () => readConntrackFacts().establishedTimeoutSeconds;
const write = (value) => writeFileSync("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established", value);
write("7200"); const before = timeout(); write("3600");
console.log(JSON.stringify([before, timeout(), readConntrackFacts().max > 0]));
`;

test("facts are those of the moment, although their files stay open", { skip: cannotRun }, async () => {
  await using scratch = await makeScratch();
  const text = await scratch.runner.run([process.execPath, "--input-type=module", "--eval", program]);
  assert.deepEqual(JSON.parse(text), [7200, 3600, true]);
});
