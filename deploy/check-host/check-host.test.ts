import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { netConfigSchema } from "@lobsterd/net/config.ts";
import { conntrackNeed } from "@lobsterd/net/networks/admission.ts";
import { connectionTableNeed } from "@lobsterd/vm/posture/controls/connection-table.ts";
import { controls } from "@lobsterd/vm/posture/controls.ts";
import type { ControlRow, PostureReport } from "@lobsterd/vm/posture/report.ts";
import { renderJson, renderTable } from "./table.ts";

const row = (id: string, verdict: ControlRow["verdict"], more: Partial<ControlRow> = {}): ControlRow => ({
  ...{ id, verdict, required: true, measured: "200 us", requirement: "at least 500", remedy: "raise it" },
  ...more,
});
const report: PostureReport = {
  checkTimeMs: Date.parse("2026-11-26T12:00:00Z"),
  rows: [
    row("HOST-01", "pass"),
    row("HOST-04", "fail", { measured: `${"words to wrap ".repeat(12)}${"x".repeat(90)}` }),
    row("HOST-13", "unknown", { required: false }),
  ],
};

test("the command computes the connection table as net admits by its defaults", () => {
  const limit = netConfigSchema.shape.connectionLimit.parse(undefined);
  for (const slots of [0, 1, 64, 100, 1000, 32_768]) {
    assert.equal(connectionTableNeed(slots), conntrackNeed(slots, limit), `${slots} slots`);
  }
});

test("every line of the table has its columns in the same place, and none is wider than asked", () => {
  for (const width of [120, 160, 200]) {
    const lines = renderTable(report, width).split("\n");
    const starts = [...(lines[1] ?? "").matchAll(/-+/g)].map(({ index }) => index);
    assert.equal(starts.length, 5);
    const table = lines.slice(0, lines.indexOf(""));
    for (const line of table) {
      assert.ok(line.length <= width, `${line.length} > ${width}: ${line}`);
      for (const start of starts.slice(1))
        assert.match(line.padEnd(width).slice(start - 2, start), /^(--| {2})$/, line);
    }
    assert.ok(table.some((line) => line.startsWith("HOST-04 P0")));
    assert.equal(table.join("").match(/x/g)?.length, 90, "nothing is cut off");
  }
});

test("a remedy is shown where there is something to remedy, and the end says what production makes of it", () => {
  const text = renderTable(report, 160);
  assert.equal(text.match(/raise it/g)?.length, 2);
  assert.match(text, /1 pass, 1 fail, 1 unknown, 0 waived, 0 not-applicable\nproduction admits no tenant: HOST-04\n$/);
  assert.match(renderTable({ ...report, rows: report.rows.slice(0, 1) }, 160), /production admits tenants\n$/);
});

test("JSON has every field", () => {
  const document = JSON.parse(renderJson(report));
  assert.partialDeepStrictEqual(document, { admitted: false, blockers: ["HOST-04"] });
  assert.deepEqual(document.controls, report.rows);
});

interface Run {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const run = (...parameters: string[]): Promise<Run> =>
  new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [`${import.meta.dirname}/main.ts`, ...parameters],
      { timeout: 60_000 },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : error.code;
        if (typeof status === "number") resolve({ status, stdout, stderr });
        else reject(error);
      },
    );
  });

test("the command judges the machine that it runs on, and its status is what production would do", async () => {
  const { status, stdout } = await run("--json");
  const document = JSON.parse(stdout);
  const ids = document.controls.map(({ id }: ControlRow) => id);
  assert.deepEqual(ids, [...controls.map(({ id }) => id), "WAIVERS"]);
  assert.equal(status, document.admitted === true ? 0 : 1);
  const slots = await run("--json", "--slots", "32768");
  const table: ControlRow = JSON.parse(slots.stdout).controls.find(({ id }: ControlRow) => id === "HOST-05");
  assert.match(`${table.verdict} ${table.measured}`, /83906560 needed for 32768 slots|^unknown /);
});

test("help is help, and a wrong option is said to be wrong", async () => {
  const help = await run("--help");
  assert.deepEqual([help.status, help.stderr], [0, ""]);
  assert.match(help.stdout, /--slots N/);
  for (const parameters of [["--slots", "0"], ["--slots", "many"], ["--root-key", "/k"], ["--unheard-of"], ["x"]]) {
    const { status, stderr, stdout } = await run(...parameters);
    assert.deepEqual([status, stdout], [2, ""], parameters.join(" "));
    assert.match(stderr, /usage:/);
  }
});
