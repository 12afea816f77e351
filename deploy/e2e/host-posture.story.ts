import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { ControlVerdict, HostMode } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { controls } from "@lobsterd/vm/posture/controls.ts";
import type { ControlRow } from "@lobsterd/vm/posture/report.ts";
import { checkout } from "../client/stack-env.ts";
import { clients } from "./subject.ts";

test("CheckHost lists every control of this machine, and development says what production would not take", async () => {
  const { controls: rows, mode, posture } = await clients.host.checkHost({});
  assert.deepEqual(
    rows.map(({ controlId }) => controlId),
    [...controls.map(({ id }) => id), "WAIVERS"],
  );
  assert.equal(mode, HostMode.DEVELOPMENT);
  assert.equal(posture?.spawnsAdmitted, true);
  const row = (id: string) => rows.find(({ controlId }) => controlId === id);
  assert.partialDeepStrictEqual(row("VMM-01"), { verdict: ControlVerdict.FAIL, required: true });
  assert.match(row("VMM-01")?.measured ?? "", /^qemu .* is no production boundary$/);
  assert.ok(posture.failedControlIds.includes("VMM-01"));
  const { host } = await clients.host.getHost({});
  assert.equal(host?.mode, HostMode.DEVELOPMENT);
  assert.deepEqual(host.posture, posture);
});

test("vm sees without a capability what it judges by, and net tells it of the connection table", async () => {
  const { controls: rows } = await clients.host.checkHost({});
  for (const { controlId, measured } of rows) assert.doesNotMatch(measured, /not readable by this user/, controlId);
  const table = rows.find(({ controlId }) => controlId === "HOST-05");
  assert.notEqual(table?.verdict, ControlVerdict.UNKNOWN, table?.measured);
  const key = rows.find(({ controlId }) => controlId === "G2");
  assert.match(key?.measured ?? "", /^key on device \d+, secrets on device \d+$/);
});

test("vm without a capability reads of the machine what the command reads as root", async () => {
  const { controls: rows } = await clients.host.checkHost({});
  const asRoot = await checkAsRoot();
  for (const id of ["HOST-01", "HOST-02", "HOST-07", "HOST-08", "HOST-10", "HOST-13", "HOST-16", "SUP-03"]) {
    const seen = rows.find(({ controlId }) => controlId === id);
    assert.equal(seen?.measured, asRoot.find((row) => row.id === id)?.measured, id);
  }
});

function checkAsRoot(): Promise<readonly ControlRow[]> {
  return new Promise((resolve, reject) => {
    const parameters = [join(checkout, "deploy/check-host/main.ts"), "--json"];
    // Its status is 1 where production would refuse, as it would here.
    execFile(process.execPath, parameters, { timeout: 60_000 }, (error, stdout) => {
      if (stdout === "") reject(error);
      else resolve(JSON.parse(stdout).controls);
    });
  });
}
