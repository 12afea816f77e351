import assert from "node:assert/strict";
import { test } from "node:test";
import { readAttestations, readWaivers } from "./operator-word.ts";
import { blockers, checkControls, controlIds } from "./report.ts";
import { createHostTree, type Tree, type TreeEntry } from "./testing/host-tree.ts";
import { nowMs, viewOf } from "./testing/sound-host.ts";

const path = "/etc/lobsterd/waivers.json";
const waiver = { control: "HOST-02", reason: "a bug of the kernel", owner: "ann", expires: "2026-12-01" };
const cores = { ...waiver, control: "HOST-12" };
const threads = { ...waiver, control: "HOST-01" };

const fileOf = (...waivers: readonly object[]): TreeEntry => ({ text: JSON.stringify({ waivers }), mode: 0o644 });
const read = (entry: TreeEntry, more: Tree = {}) =>
  readWaivers(createHostTree({ [path]: entry, ...more }), path, controlIds, nowMs);

async function reportOf(tree: Tree, ...waivers: readonly object[]) {
  const report = await checkControls(viewOf(tree), await read(fileOf(...waivers)));
  return {
    blockers: blockers(report).map(({ id }) => id),
    row: (id: string) => report.rows.find((row) => row.id === id),
  };
}

const merged: Tree = { "/sys/kernel/mm/ksm/pages_shared": "7" };
const smtOn: Tree = { "/sys/devices/system/cpu/smt/active": "1", "/sys/devices/system/cpu/smt/control": "on" };

test("a sound host has no blockers; a required control that fails or is unknown is one, any other is not", async () => {
  assert.deepEqual((await reportOf({})).blockers, []);
  assert.deepEqual((await reportOf(merged)).blockers, ["HOST-02"]);
  assert.deepEqual((await reportOf({ "/proc/cmdline": undefined })).blockers, ["HOST-07"]);
  const optional = await reportOf({ "/docs/residual-risks.md": undefined });
  assert.deepEqual([optional.blockers, optional.row("HOST-13")?.verdict], [[], "unknown"]);
});

test("a waiver lifts the control that it names, and shows its owner and its end", async () => {
  const waived = await reportOf(merged, waiver);
  assert.deepEqual(waived.blockers, []);
  const row = waived.row("HOST-02");
  assert.equal(row?.verdict, "waived");
  assert.match(row.measured, /pages_shared 7 \(waived by ann until 2026-12-01\)/);
  assert.deepEqual(row.waiver, waiver);
  assert.equal((await reportOf({}, waiver)).row("HOST-02")?.verdict, "pass", "a control that is met needs no waiver");
  assert.deepEqual((await reportOf({ ...merged, "/proc/swaps": undefined }, waiver)).blockers, ["HOST-10"]);
});

test("a waiver of HOST-01 holds only where each VM has a core cookie, or where that is waived too", async () => {
  const alone = await reportOf(smtOn, threads);
  assert.deepEqual(alone.blockers, ["HOST-01"]);
  assert.match(alone.row("HOST-01")?.measured ?? "", /the waiver needs HOST-12/);
  assert.equal(alone.row("HOST-12")?.verdict, "fail");
  assert.deepEqual((await reportOf(smtOn, threads, cores)).blockers, []);
  const report = await checkControls(viewOf(smtOn, { coreCookies: true }), await read(fileOf(threads)));
  assert.deepEqual(blockers(report), []);
});

test("a waiver holds through its last day and not on the next", async () => {
  for (const [expires, holds] of [
    ["2026-11-26", true],
    ["2026-11-25", false],
  ] as const) {
    const { waivers, faults } = await read(fileOf({ ...waiver, expires }));
    assert.equal(waivers.length, holds ? 1 : 0, expires);
    assert.deepEqual(faults, holds ? [] : ["ann's waiver of HOST-02 expired on 2026-11-25"]);
  }
  const report = await reportOf(merged, { ...waiver, expires: "2026-11-25" });
  assert.deepEqual(report.blockers, ["HOST-02"]);
  assert.equal(report.row("WAIVERS")?.verdict, "fail");
});

const spoilt: ReadonlyArray<readonly [string, TreeEntry, Tree?]> = [
  ["not JSON", "{"],
  ["no owner", fileOf({ ...waiver, owner: undefined })],
  ["no reason", fileOf({ ...waiver, reason: "" })],
  ["no such day", fileOf({ ...waiver, expires: "2026-02-30" })],
  ["no day at all", fileOf({ ...waiver, expires: "never" })],
  ["a word too many", fileOf({ ...waiver, all: true })],
  ["one control twice", fileOf(waiver, waiver)],
  ["no list", { text: "{}" }],
  ["another's file", { text: JSON.stringify({ waivers: [waiver] }), uid: 1000 }],
  ["a file for a group to write", { text: JSON.stringify({ waivers: [waiver] }), mode: 0o664 }],
  ["a file for all to write", { text: JSON.stringify({ waivers: [waiver] }), mode: 0o646 }],
  ["a link", { link: "/tmp/waivers.json" }],
  ["another's directory", fileOf(waiver), { "/etc/lobsterd": { kind: "directory", mode: 0o755, uid: 1000 } }],
  ["a directory for all to write", fileOf(waiver), { "/etc/lobsterd": { kind: "directory", mode: 0o777 } }],
  ["not readable", { text: "", denied: true }],
];

test("a waiver file that is malformed or not root's alone waives nothing and says why", async () => {
  for (const [name, entry, more] of spoilt) {
    const { present, waivers, faults } = await read(entry, more);
    assert.deepEqual([present, waivers], [true, []], name);
    assert.equal(faults.length, 1, name);
  }
});

test("one entry that does not hold leaves the others in force", async () => {
  const { waivers, faults } = await read(fileOf(waiver, { ...waiver, control: "HOST-99" }));
  assert.deepEqual(waivers, [waiver]);
  assert.deepEqual(faults, ["HOST-99 is no control"]);
});

test("no waiver file is no fault", async () => {
  const none = await readWaivers(createHostTree({}), path, controlIds, nowMs);
  assert.deepEqual(none, { present: false, waivers: [], faults: [] });
  assert.equal((await checkControls(viewOf(), none)).rows.at(-1)?.verdict, "not-applicable");
});

test("attestations are read under the same conditions", async () => {
  const attestation = { control: "HOST-09", statement: "DDR5 with TRR", owner: "ann", date: "2026-06-01" };
  const good = { text: JSON.stringify({ attestations: [attestation] }) };
  const of = (entry: TreeEntry) => readAttestations(createHostTree({ "/etc/a.json": entry }), "/etc/a.json");
  assert.deepEqual(await of(good), { ok: true, value: [attestation] });
  assert.equal((await of({ ...good, uid: 1000 })).ok, false);
  assert.equal((await of({ ...good, mode: 0o666 })).ok, false);
});
