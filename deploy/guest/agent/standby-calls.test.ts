import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { standbyCallsProgram } from "../image/standby-calls.ts";
import { StandbyCalls } from "./standby-calls.ts";

const skip = process.platform === "linux" && process.arch === "x64" ? false : "the program is for Linux on x86-64";
const directory = mkdtempSync(join(tmpdir(), "lobsterd-standby-"));
const path = join(directory, "standby-calls");
writeFileSync(path, standbyCallsProgram());
chmodSync(path, 0o700);
after(() => rmSync(directory, { recursive: true }));

function startCalls(t: TestContext): StandbyCalls {
  const calls = new StandbyCalls(path);
  t.after(() => calls.start().end());
  return calls;
}

test("one program makes call after call, and says when the kernel refuses one", { skip }, async (t) => {
  const calls = startCalls(t);
  const first = calls.start();
  await Promise.all([calls.sync(), calls.sync()]);
  await calls.sync();
  assert.equal(calls.start(), first);
  // Beyond what any clock can be set to.
  await assert.rejects(calls.setClock(Number.MAX_SAFE_INTEGER), (error: Error) => {
    assert.match(error.message, /the clock was not set/);
    assert.match(String(error.cause), /error 22/);
    return true;
  });
});

test("one that ended is replaced by the next call's", { skip }, async (t) => {
  const calls = startCalls(t);
  const first = calls.start();
  first.end();
  await calls.sync();
  assert.notEqual(calls.start(), first);
});

test("a program that is not there fails the call that asks for it", async () => {
  await assert.rejects(new StandbyCalls(join(directory, "missing")).sync(), /were not written out/);
});
