import assert from "node:assert/strict";
import { it } from "node:test";
import { killUnderLoad, openAuditProcess } from "./audit-process.ts";

it("20 kill -9 under load from 8 writers: no acknowledged record lost, none twice, and the log verifies", async (context) => {
  const stack = openAuditProcess(context);
  const { acknowledged, found, lost, doubled } = await killUnderLoad(stack, 20, 1000);
  context.diagnostic(`${acknowledged} acknowledged, ${found} in the log, ${lost.length} lost, ${doubled} twice`);
  assert.deepEqual({ lost, doubled }, { lost: [], doubled: 0 });
  await stack.kill();
  const { status, output } = stack.verify();
  assert.equal(status, 0, output);
  context.diagnostic(output);
});
