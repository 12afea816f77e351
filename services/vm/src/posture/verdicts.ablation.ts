/**
 * Inverts a comparison or drops a condition of a control, one at a time, in a copy of the sources, and shows that the control's cases go
 * red. One that stays green is a bound that nothing tests.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Ablation, ablate } from "@lobsterd/chassis/testing-control-removal.ts";
import { controls } from "./controls.ts";

type Change = readonly [find: string, replace: string];

/** By control: the file, and what is changed in it. */
const byControl: Readonly<Record<string, readonly [file: string, ...changes: Change[]]>> = {
  "HOST-01": [
    "smt.ts",
    ['active.value !== "0"', 'active.value === "0"'],
    ['"off", "forceoff"', '"on", "off", "forceoff"'],
    ["if (!active.ok) return failed(active.why);", 'if (!active.ok) return pass("");'],
    ["!/^\\d+$/.test(siblings.value)", "false"],
  ],
  "HOST-02": ["memory.ts", ["value === 0", "value <= 7"], ['"run", "pages_shared", "pages_sharing"', '"run"']],
  "HOST-03": [
    "guest-timers.ts",
    ["thread.value === process.value &&", ""],
    ["&& /\\/lobsterd-[a-z]+\\/[0-9a-f]{32}$/.test(thread.value)", ""],
    ['!daemon.ok || daemon.value !== "kthreadd"', "false"],
    ["/^kvm-pit\\/(\\d+)$/", "/^kvm-pit\\/(\\d)/"],
  ],
  "HOST-04": [
    "guest-timers.ts",
    ["periodUs < 500", "periodUs > 500"],
    ["periodUs < 500", "periodUs <= 500"],
    ["periodUs < 500", "periodUs < 499"],
    ["if (isEmulated(host))", "if (!isEmulated(host))"],
  ],
  "HOST-05": [
    "connection-table.ts",
    ["max >= need", "max <= need"],
    ["max >= need", "max >= need - 1"],
    ["buckets >= max", "true"],
    ["establishedTimeoutSeconds <= maxEstablishedSeconds", "establishedTimeoutSeconds >= maxEstablishedSeconds"],
    ["establishedTimeoutSeconds <= maxEstablishedSeconds", "true"],
  ],
  "HOST-06": [
    "kernel.ts",
    ["compareReleases(release, newest.release) < 0", "compareReleases(release, newest.release) > 0"],
    ["behindDays > maxUpdateAgeDays", "behindDays < maxUpdateAgeDays"],
    ["pendingDays > maxRebootDays", "pendingDays < maxRebootDays"],
    ["age < 0 || age > maxUpdateAgeDays", "false"],
    ["changeTimeMs > nowMs - upSeconds * 1000", "changeTimeMs < nowMs - upSeconds * 1000"],
  ],
  "HOST-07": [
    "cpu-vulnerabilities.ts",
    ["&& !/vulnerable/i.test(text)", ""],
    ["return listed ? failed(measured)", "return listed ? pass(measured)"],
    ['part === "off" || part.startsWith("no_")', 'part === "off"'],
    ['part === "off" || part.startsWith("no_")', 'part.startsWith("no_")'],
    ["offSwitches.has(word) ||", ""],
    ['value === "off" && switchesOfOneBug.has(key)', "false"],
    ['"tsa", "vmscape"],\n  ].map', '"tsa"],\n  ].map'],
    ["compareReleases(release, since) >= 0", "compareReleases(release, since) < 0"],
  ],
  "HOST-08": [
    "microcode.ts",
    ["revision >= Number(row.revision)", "revision <= Number(row.revision)"],
    ["revisions.length > 1", "revisions.length > 2"],
  ],
  "HOST-09": [
    "memory.ts",
    ["uncorrected > 0", "uncorrected > 1"],
    ["rate < maxCorrectedPerHour", "rate > maxCorrectedPerHour"],
    ["Math.max(1, ", "Math.max(0, "],
    ["if (attested === undefined) return unknown", "if (attested === undefined) return pass"],
  ],
  "HOST-10": [
    "memory.ts",
    ["names.length === 0", "names.length <= 1"],
    ['disk.value.includes("[disabled]")', "true"],
    ['states.split(/\\s+/).includes("disk") ? unknown', 'states.split(/\\s+/).includes("disk") ? pass'],
  ],
  "HOST-11": [
    "cpu-vulnerabilities.ts",
    ['["never", "N"].includes(pages.value)', '!["never", "N"].includes(pages.value)'],
  ],
  "HOST-12": [
    "smt.ts",
    ["if (!host.coreCookies)", "if (host.coreCookies)"],
    ["return supported\n", "return !supported\n"],
  ],
  "HOST-13": ["residual-risks.ts", ["age > maxAgeDays", "age < maxAgeDays"], ["age < 0 ||", ""]],
  "HOST-14": [
    "local-users.ts",
    ["value >= least && value <= most", "value >= least"],
    ["value >= least && value <= most", "value <= most"],
    ["(mode & 0o7117) !== 0", "(mode & 0o7110) !== 0"],
    ["uid >= firstPersonUid", "uid <= firstPersonUid"],
    ["Number.isNaN(uid) ||", ""],
    ["if (primary === String(gid)) members.add(user)", "void primary"],
    ["corePatterns.has(pattern)", "true"],
    ['limits[1] === "0" && limits[2] === "0"', 'limits[1] === "0"'],
  ],
  "HOST-15": ["platform.ts", ["type === cgroup2Magic", "type !== cgroup2Magic"]],
  "HOST-16": ["platform.ts", ['? failed("arm64")', '? pass("arm64")']],
  "HOST-17": ["cpu-vulnerabilities.ts", ['flush === "always"', 'flush !== "never"']],
  "VMM-01": ["vmm.ts", ["vmm.productionBoundary ?", "!vmm.productionBoundary ?"]],
  "SUP-03": [
    "advisories.ts",
    ["compareReleases(version, row.before) < 0", "compareReleases(version, row.before) <= 0"],
  ],
  G2: ["root-key.ts", ["key.value.device === store.value.device", "key.value.device !== store.value.device"]],
};

test("every required control is ablated", () => {
  const required = controls.filter((control) => control.required).map(({ id }) => id);
  assert.deepEqual(
    required.filter((id) => !(id in byControl)),
    [],
  );
});

const others: ReadonlyArray<
  readonly [what: string, change: { file: string; find: string; replace: string }, testFile: string, name: string]
> = [
  [
    "an unreadable file that passes",
    { file: "control.ts", find: ": unknown(reading.why)", replace: ": pass(reading.why)" },
    "controls.test.ts",
    "without any one file",
  ],
  [
    "a spawn without a look at the host",
    { file: "posture.ts", find: 'if (mode === "development") return;', replace: "return;" },
    "posture.test.ts",
    "production refuses",
  ],
  [
    "a control that is unknown and holds nobody off",
    { file: "report.ts", find: 'verdict === "fail" || verdict === "unknown"', replace: 'verdict === "fail"' },
    "posture.test.ts",
    "production refuses",
  ],
  [
    "a waiver without an end",
    { file: "operator-word.ts", find: "days > 0", replace: "false" },
    "report.test.ts",
    "a waiver holds through its last day",
  ],
  [
    "a waiver file that anybody writes",
    { file: "operator-word.ts", find: "(mode & 0o022) !== 0", replace: "false" },
    "report.test.ts",
    "a waiver file that is malformed",
  ],
  [
    "a waiver file of another user",
    { file: "operator-word.ts", find: "if (uid !== 0)", replace: "if (uid < 0)" },
    "report.test.ts",
    "a waiver file that is malformed",
  ],
  [
    "a waiver of SMT alone",
    { file: "report.ts", find: '{ "HOST-01": "HOST-12" }', replace: "{}" },
    "report.test.ts",
    "a waiver of HOST-01",
  ],
];

const below = (file: string) => `services/vm/src/posture/${file}`;
export const ablations: readonly Ablation[] = [
  ...Object.entries(byControl).flatMap(([id, [file, ...changes]]) =>
    changes.map(([find, replace]) => ({
      control: `${id}: ${find} -> ${replace}`,
      removals: [{ file: below(`controls/${file}`), find, replace }],
      noticedBy: { file: below("controls.test.ts"), name: `${id}: every case has its verdict` },
    })),
  ),
  ...others.map(([control, change, file, name]) => ({
    control,
    removals: [{ ...change, file: below(change.file) }],
    noticedBy: { file: below(file), name },
  })),
];

if (import.meta.main) ablate(ablations);
