import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { ControlVerdict, HostMode, HostService } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { createFakeHost } from "../lifecycle/fake-host.ts";
import { startRun } from "../lifecycle/fake-run.ts";
import { controls } from "../posture/controls.ts";
import { createPosture, type HostMode as Mode } from "../posture/posture.ts";
import { checkControls } from "../posture/report.ts";
import type { Tree } from "../posture/testing/host-tree.ts";
import { nowMs, viewOf } from "../posture/testing/sound-host.ts";
import { migrations } from "../store/schema.ts";
import { serveRun } from "./fake-service.ts";

const waiver = { control: "HOST-10", reason: "zram until the next window", owner: "ann", expires: "2026-12-01" };
const bad: Tree = {
  "/sys/kernel/mm/ksm/run": "1",
  "/proc/cmdline": undefined,
  "/proc/swaps": "Filename\n/swap file\n",
};
const quiet = () => undefined;

function open(mode: Mode, tree: Tree = bad) {
  const host = createFakeHost();
  const database = openDatabase(":memory:", migrations);
  const posture = createPosture({
    mode,
    look: () => checkControls(viewOf(tree), { present: true, waivers: [waiver], faults: [] }),
    events: { hostJudged: quiet, hostControlFailed: quiet, hostControlMet: quiet, hostControlWaived: quiet },
    now: () => nowMs,
    maxAgeMs: 1000,
  });
  const run = startRun(host, database, { posture });
  const { harness, records } = serveRun(host, database, run);
  return {
    ...{ ...run, host, harness, records },
    hosts: harness.as("role:viewer", HostService),
    tenants: harness.as("role:operator", TenantService),
  };
}

const request = () => ({ requestId: randomUUID(), name: "demo" });

test("CheckHost has a row for every control, with what it takes to pass and who waived what", async () => {
  const { hosts } = open("production");
  const { controls: rows, mode, posture } = await hosts.checkHost({});
  assert.deepEqual(
    rows.map(({ controlId }) => controlId),
    [...controls.map(({ id }) => id), "WAIVERS"],
  );
  for (const row of rows) {
    assert.notEqual(row.verdict, ControlVerdict.UNSPECIFIED);
    for (const text of [row.requirement, row.measured, row.remedy]) assert.notEqual(text, "", row.controlId);
  }
  const row = (id: string) => rows.find(({ controlId }) => controlId === id);
  assert.partialDeepStrictEqual(row("HOST-02"), { verdict: ControlVerdict.FAIL, measured: "run 1", required: true });
  assert.partialDeepStrictEqual(row("HOST-07"), { verdict: ControlVerdict.UNKNOWN, required: true });
  assert.partialDeepStrictEqual(row("HOST-10"), {
    verdict: ControlVerdict.WAIVED,
    waiver: { owner: "ann", reason: waiver.reason },
  });
  assert.equal(mode, HostMode.PRODUCTION);
  assert.partialDeepStrictEqual(posture, {
    spawnsAdmitted: false,
    failedControlIds: ["HOST-02"],
    unknownControlIds: ["HOST-07"],
    waivedControlIds: ["HOST-10"],
  });
});

test("production refuses a spawn with HOST_POSTURE before it has any effect, and records the refusal", async () => {
  const { tenants, host, journal, records } = open("production");
  await assert.rejects(tenants.spawnTenant(request()), (error) => {
    assert.ok(error instanceof ConnectError);
    assert.equal(error.code, Code.FailedPrecondition);
    const [info] = error.findDetails(ErrorInfoSchema);
    assert.partialDeepStrictEqual(info, {
      reason: "HOST_POSTURE",
      domain: "vm.lobsterd",
      metadata: { controls: "HOST-02,HOST-07" },
    });
    return true;
  });
  assert.deepEqual(await host.inventory(), []);
  assert.deepEqual(journal.open(), []);
  assert.deepEqual((await tenants.listTenants({})).tenants, []);
  assert.partialDeepStrictEqual(records.entries.at(-1), { action: "SpawnTenant", reason: "HOST_POSTURE" });
});

test("a host that meets its controls, and any host in development, gets tenants", async () => {
  for (const [mode, tree] of [
    ["production", {}],
    ["development", bad],
  ] as const) {
    const { tenants } = open(mode, tree);
    assert.equal((await tenants.spawnTenant(request())).tenant?.name, "demo", mode);
  }
});

test("GetHost tells the mode, and the posture from the first check on", async () => {
  const { hosts } = open("development");
  const before = await hosts.getHost({});
  assert.equal(before.host?.mode, HostMode.DEVELOPMENT);
  assert.equal(before.host.posture, undefined);
  await hosts.checkHost({});
  const { host } = await hosts.getHost({});
  assert.partialDeepStrictEqual(host?.posture, { spawnsAdmitted: true, failedControlIds: ["HOST-02"] });
});

test("operators and viewers look at a host, and nobody else", async () => {
  const { harness } = open("production");
  await harness.as("role:operator", HostService).checkHost({});
  for (const caller of ["role:owner", "stranger", "service:net"] as const) {
    await assert.rejects(
      harness.as(caller, HostService).checkHost({}),
      (error) => error instanceof ConnectError && error.code === Code.PermissionDenied,
      caller,
    );
  }
});
