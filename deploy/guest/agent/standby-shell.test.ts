import assert from "node:assert/strict";
import { test } from "node:test";
import { StandbyShell } from "./standby-shell.ts";

test("it runs sync again and again, one after the other, and says when a program fails", async (t) => {
  const shell = new StandbyShell();
  t.after(() => shell.start().end());
  const first = shell.start();
  await Promise.all([shell.sync(), shell.sync()]);
  await shell.sync();
  assert.equal(shell.start(), first);
  // Beyond what any clock can be set to.
  await assert.rejects(shell.setClock(Number.MAX_SAFE_INTEGER * 1e6), /standby shell did not do/);
});

test("one that ended is replaced by the next call's", async (t) => {
  const shell = new StandbyShell();
  t.after(() => shell.start().end());
  const first = shell.start();
  first.end();
  await shell.sync();
  assert.notEqual(shell.start(), first);
});
