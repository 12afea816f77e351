import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ControlVerdict } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { fakeStack } from "../testing/fake-stack.ts";
import { runCommand } from "../testing/run-command.ts";

test("host get says what a host is not", async () => {
  const { stdout } = await runCommand(["host", "get"]);
  assert.match(stdout, /^boundary +for development: not for hostile tenants$/m);
  assert.match(stdout, /^slots +0 of 64$/m);
  const { host } = JSON.parse((await runCommand(["host", "get", "--json"])).stdout);
  assert.partialDeepStrictEqual(host, { hostId: "host-1", productionBoundary: false, slotCount: 64, images: [] });
});

test("host check fails for a required control that is failed or unknown, and for no other", async () => {
  const stack = fakeStack();
  const row = (controlId: string, verdict: ControlVerdict, required: boolean) => ({
    ...{ controlId, verdict, required, measured: "m", requirement: "r", remedy: `mend ${controlId}` },
  });
  stack.controls = [row("HOST-01", ControlVerdict.PASS, true), row("HOST-02", ControlVerdict.FAIL, false)];
  const admitted = await runCommand(["host", "check"], { stack });
  assert.deepEqual([admitted.status, admitted.stderr], [0, ""]);
  assert.match(admitted.stdout, /^HOST-02 +- +fail +m +r +mend HOST-02$/m);
  assert.doesNotMatch(admitted.stdout, /mend HOST-01/);
  for (const verdict of [ControlVerdict.FAIL, ControlVerdict.UNKNOWN, ControlVerdict.UNSPECIFIED]) {
    stack.controls = [row("HOST-01", ControlVerdict.PASS, true), row("HOST-03", verdict, true)];
    const refused = await runCommand(["host", "check", "--unmet"], { stack });
    assert.equal(refused.status, 1);
    assert.match(refused.stdout, /\nproduction admits no tenant: HOST-03\n$/);
    assert.doesNotMatch(refused.stdout, /HOST-01/);
    const json = await runCommand(["host", "check", "--json"], { stack });
    assert.equal(json.status, 1);
    assert.equal(JSON.parse(json.stdout).controls.length, 2);
  }
});

test("host drain waits until every tenant is suspended, host get shows it, and host undrain ends it", async () => {
  const stack = fakeStack();
  const { status, stdout, stderr } = await runCommand(["host", "drain", "--reason", "new kernel"], { stack });
  assert.deepEqual([status, stderr, stdout], [0, "", "done: 0 active, 0 suspended; for new kernel\n"]);
  assert.match((await runCommand(["host", "get"], { stack })).stdout, /^drain +done: 0 active/m);
  assert.deepEqual((await runCommand(["host", "undrain"], { stack })).status, 0);
  assert.match((await runCommand(["host", "get"], { stack })).stdout, /^drain +no$/m);
  const begun = await runCommand(["host", "drain", "--no-wait", "--json"], { stack });
  assert.partialDeepStrictEqual(JSON.parse(begun.stdout).drain, { activeCount: 2, done: false });
  const kept = await runCommand(["host", "drain", "--keep-tenants"], { stack });
  assert.match(kept.stdout, /^its tenants go on: 2 active/);
  const progress = await runCommand(["host", "drain"], { stack, isTerminal: true });
  assert.equal(progress.stderr, "under way: 2 active, 0 suspended\nunder way: 1 active, 0 suspended\n");
  assert.equal((await runCommand(["host", "drain"], { stack: fakeStack("role:viewer") })).status, 5);
});

test("routes lists names and guests", async () => {
  const { stdout } = await runCommand(["routes"]);
  assert.match(stdout, /^demo +demo\.lobsterd\.localhost +- +awake +10\.0\.0\.1 +2 +-$/m);
  const { routes } = JSON.parse((await runCommand(["routes", "--json"])).stdout);
  assert.partialDeepStrictEqual(routes, [{ tenant: "demo", extraHostNames: [] }]);
});

test("audit query reads page by page up to its limit", async () => {
  const stack = fakeStack();
  stack.recordCount = 7;
  const sequences = async (...more: string[]) => {
    const { stdout } = await runCommand(["audit", "query", "--json", ...more], { stack });
    return JSON.parse(stdout).records.map(({ sequence }: { sequence: string }) => sequence);
  };
  assert.deepEqual(await sequences(), ["0", "1", "2", "3", "4", "5", "6"]);
  assert.deepEqual(await sequences("--limit", "3", "--since", "2026-01-01"), ["0", "1", "2"]);
  assert.deepEqual(await sequences("--tenant", "other"), []);
  const { stdout } = await runCommand(["audit", "query", "--limit", "1"], { stack });
  assert.match(stdout, /SpawnTenant +demo +outcome +success +client\/operator +svc\/vm +-\n$/);
  assert.equal((await runCommand(["audit", "query", "--since", "yesterday"], { stack })).status, 2);
});

test("audit tail begins where it is told", async () => {
  const { stdout } = await runCommand(["audit", "tail", "--from", "1", "--json"]);
  assert.deepEqual(
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).record.sequence),
    ["1", "2"],
  );
  assert.equal((await runCommand(["audit", "tail"])).stdout.trimEnd().split("\n").length, 3);
});

test("audit export goes on where its file ends", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lobster-test-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "copy");
  writeFileSync(file, "0123");
  const { status, stdout } = await runCommand(["audit", "export", "--to", file]);
  assert.deepEqual([status, stdout, readFileSync(file, "utf8")], [0, "origin\n10\nroot\n", "0123456789"]);
  const { bytes } = JSON.parse((await runCommand(["audit", "export", "--to", file, "--json"])).stdout);
  assert.equal(bytes, 10);
  assert.equal((await runCommand(["audit", "export"])).status, 2);
});

test("audit checkpoint prints the note", async () => {
  assert.match((await runCommand(["audit", "checkpoint"])).stdout, /^origin\n3\nroot\n\n\u2014 origin signature\n$/);
  assert.deepEqual(Object.keys(JSON.parse((await runCommand(["audit", "checkpoint", "--json"])).stdout)), [
    "signedNote",
  ]);
});

test("audit verify passes the verifier's word on, and does not say that what it could not read is right", async () => {
  const wrong = ["--log", "/nowhere", "--verifier-key", "/nowhere", "--checkpoints", "/nowhere"];
  const { status, stdout, stderr } = await runCommand(["audit", "verify", ...wrong]);
  assert.deepEqual([status, stdout], [1, ""]);
  assert.match(stderr, /^not verified: ENOENT/);
  assert.equal((await runCommand(["audit", "verify", "--log", "/nowhere"])).status, 2);
});
