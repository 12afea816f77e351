import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuditEntry } from "@lobsterd/chassis/audit.ts";
import { ServiceError } from "@lobsterd/chassis/errors.ts";
import type { EventBus, OutgoingEvent } from "@lobsterd/chassis/events.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { createHostEvents } from "../events.ts";
import type { HostSources } from "./look.ts";
import { createHostLook } from "./look.ts";
import { createPosture, type HostMode } from "./posture.ts";
import { createHostTree, type Tree } from "./testing/host-tree.ts";
import { nowMs, soundKnown, soundTree, viewOf } from "./testing/sound-host.ts";

const paths = {
  waivers: "/etc/lobsterd/waivers.json",
  attestations: "/etc/lobsterd/attestations.json",
  knownVersions: "/known.json",
  riskRegister: "/docs/residual-risks.md",
};
const vouched: Tree = {
  "/known.json": JSON.stringify(soundKnown),
  [paths.attestations]: JSON.stringify({
    attestations: [{ control: "HOST-09", statement: "DDR5 with TRR", owner: "ann", date: "2026-06-01" }],
  }),
};
const merged: Tree = { "/sys/kernel/mm/ksm/pages_shared": "7" };
const waived: Tree = {
  [paths.waivers]: JSON.stringify({
    waivers: [{ control: "HOST-02", reason: "kernel bug 1", owner: "ann", expires: "2026-11-26" }],
  }),
};

/** A posture over a host in memory that can be changed while it runs. */
function open(mode: HostMode, first: Tree = {}) {
  const host = { tree: first, looks: 0, nowMs };
  const told: OutgoingEvent[] = [];
  const records: AuditEntry[] = [];
  const lines: Array<Record<string, unknown>> = [];
  const logger = createLogger(
    { service: "vm", level: "info" },
    { write: (line: string) => void lines.push(JSON.parse(line)) },
  );
  const bus: Pick<EventBus, "publish"> = { publish: (event) => void told.push(event) };
  const sources: HostSources = {
    ...viewOf(),
    paths,
    files: createHostTree({}),
    describeVmm: async () => viewOf().vmm,
    readConntrack: async () => viewOf().conntrack,
    now: () => host.nowMs,
  };
  const posture = createPosture({
    mode,
    look: async () => {
      host.looks += 1;
      return await createHostLook({ ...sources, files: createHostTree({ ...soundTree, ...vouched, ...host.tree }) })();
    },
    events: createHostEvents(bus as EventBus, logger, (entry) => void records.push(entry)),
    now: () => host.nowMs,
    maxAgeMs: 7_200_000,
  });
  return { posture, host, told, records, lines };
}

const refusal =
  (...controls: readonly string[]) =>
  (error: unknown) => {
    assert.ok(error instanceof ServiceError);
    assert.equal(error.reason, "HOST_POSTURE");
    assert.deepEqual(error.metadata, { controls: controls.join(",") });
    for (const control of controls) assert.ok(error.message.includes(control));
    return true;
  };

test("production looks before its first spawn, and not at each one after", async () => {
  const { posture, host } = open("production");
  await Promise.all([posture.admitSpawn(), posture.admitSpawn()]);
  await posture.admitSpawn();
  assert.equal(host.looks, 1);
});

test("production refuses while a required control is failed or unknown, and names it", async () => {
  await assert.rejects(open("production", merged).posture.admitSpawn(), refusal("HOST-02"));
  await assert.rejects(
    open("production", { ...merged, "/proc/cmdline": undefined }).posture.admitSpawn(),
    refusal("HOST-02", "HOST-07"),
  );
  await open("production", { "/docs/residual-risks.md": undefined }).posture.admitSpawn();
});

test("a waiver admits until its day is over", async () => {
  const { posture, host } = open("production", { ...merged, ...waived });
  await posture.admitSpawn();
  host.nowMs += 12 * 3_600_000;
  await assert.rejects(posture.admitSpawn(), refusal("HOST-02"));
});

test("a refusal is about the host as it is: it is looked at again, at most every 10 s", async () => {
  const { posture, host } = open("production", merged);
  await assert.rejects(posture.admitSpawn(), refusal("HOST-02"));
  host.tree = {};
  await assert.rejects(posture.admitSpawn(), refusal("HOST-02"));
  assert.equal(host.looks, 1);
  host.nowMs += 10_001;
  await posture.admitSpawn();
  assert.equal(host.looks, 2);
});

test("an old report admits nobody", async () => {
  const { posture, host } = open("production");
  await posture.admitSpawn();
  host.tree = merged;
  await posture.admitSpawn();
  host.nowMs += 7_200_001;
  await assert.rejects(posture.admitSpawn(), refusal("HOST-02"));
});

test("development admits whatever is found, and says so once", async () => {
  const { posture, lines } = open("development", merged);
  await posture.admitSpawn();
  await posture.check();
  await posture.check();
  const warned = lines.filter(({ message }) => message === "host is not for hostile tenants, and spawns all the same");
  assert.deepEqual(
    warned.map(({ controls }) => controls),
    [["HOST-02"]],
  );
});

test("a control that no longer passes is told once, as event and audit record, and when it is met again", async () => {
  const { posture, host, told, records } = open("production");
  await posture.check();
  assert.deepEqual([told, records], [[], []]);
  host.tree = merged;
  await posture.check();
  await posture.check();
  assert.deepEqual(
    told.map(({ name, tenant, data }) => [name, tenant, data["control"]]),
    [["host-control-failed", "", "HOST-02"]],
  );
  assert.deepEqual(
    records.map(({ action, resource, outcome, reason }) => [action, resource, outcome, reason]),
    [["CheckHost", "HOST-02", "failure", "CONTROL_FAILED"]],
  );
  host.tree = {};
  await posture.check();
  assert.deepEqual(
    told.map(({ name }) => name),
    ["host-control-failed", "host-control-met"],
  );
});

test("a waiver that comes into force is a record", async () => {
  const { posture, records } = open("production", { ...merged, ...waived });
  await posture.check();
  await posture.check();
  assert.deepEqual(
    records.map(({ action, resource, reason }) => [action, resource, reason]),
    [["WaiveHostControl", "HOST-02", "CONTROL_WAIVED"]],
  );
});

test("memory errors are counted from a look that was an hour ago, however often one looks", async () => {
  let corrected = 0;
  const clock = { nowMs };
  const tree = () => ({ ...soundTree, ...vouched, "/sys/devices/system/edac/mc/mc0/ce_count": String(corrected) });
  let files = createHostTree(tree());
  const look = createHostLook({
    ...viewOf(),
    paths,
    files: { ...files, text: (path) => files.text(path), names: (path) => files.names(path) },
    describeVmm: async () => viewOf().vmm,
    readConntrack: async () => viewOf().conntrack,
    now: () => clock.nowMs,
  });
  const verdictAfter = async (minutes: number, errors: number) => {
    clock.nowMs += minutes * 60_000;
    corrected += errors;
    files = createHostTree(tree());
    return (await look()).rows.find(({ id }) => id === "HOST-09")?.verdict;
  };
  assert.equal(await verdictAfter(0, 5), "pass");
  assert.equal(await verdictAfter(20, 4), "pass");
  assert.equal(await verdictAfter(20, 6), "fail", "10 since the first look");
  assert.equal(await verdictAfter(60, 0), "pass");
});
