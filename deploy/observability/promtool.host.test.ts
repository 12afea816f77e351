/** Debian's promtool reads the alert rules and runs them on recorded series, and Prometheus's own parser takes every query of a dashboard. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { stringify } from "yaml";
import { fetchPrograms, observabilityLockPath, programPath } from "../dev/debian-archive.ts";
import { checkoutDir } from "../dev/instance.ts";
import { alertCases } from "./alert-cases.ts";
import { alerts, runbookOf } from "./alerts.ts";

const promtool = programPath(checkoutDir, "promtool");
const rulesPath = join(import.meta.dirname, "prometheus/alerts.yaml");
let directory = "";
let absence: string | undefined;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "lobsterd-promtool-"));
  await fetchPrograms(checkoutDir, undefined, observabilityLockPath).catch((error: unknown) => {
    absence = `Debian's prometheus cannot be had: ${error instanceof Error ? error.message : String(error)}`;
  });
});
after(() => rmSync(directory, { recursive: true, force: true }));

function run(context: TestContext, ...parameters: string[]): string | undefined {
  if (absence !== undefined) {
    context.skip(absence);
    return undefined;
  }
  const { status, stdout, stderr } = spawnSync(promtool, parameters, { encoding: "utf8", timeout: 120_000 });
  assert.equal(status, 0, `${stdout}${stderr}`);
  return stdout;
}

describe("promtool", () => {
  it("takes the alert rules", (context) => {
    const output = run(context, "check", "rules", rulesPath);
    if (output !== undefined) assert.match(output, new RegExp(`${alerts.length} rules found`));
  });

  it("takes every query of the dashboards", (context) => {
    const dashboards = join(import.meta.dirname, "grafana/dashboards");
    const queries = readdirSync(dashboards).flatMap((file) => {
      const { panels } = JSON.parse(readFileSync(join(dashboards, file), "utf8")) as {
        panels: { targets?: { expr?: string; datasource: { type: string } }[] }[];
      };
      const targets = panels.flatMap((panel) => panel.targets ?? []);
      return targets.flatMap(({ expr, datasource }) =>
        datasource.type === "prometheus" && expr !== undefined ? [expr] : [],
      );
    });
    const rules = queries.map((query, at) => ({
      record: `query:${at}`,
      expr: query.replaceAll("$__rate_interval", "1m"),
    }));
    const path = join(directory, "queries.yaml");
    writeFileSync(path, stringify({ groups: [{ name: "queries", rules }] }));
    const output = run(context, "check", "rules", path);
    if (output !== undefined) assert.match(output, new RegExp(`${queries.length} rules found`));
  });

  for (const { alert, about, series, atMinutes, fires } of alertCases) {
    it(`${alert} ${fires === undefined ? `is silent ${about}` : about}`, (context) => {
      const rule = alerts.find(({ name }) => name === alert);
      assert.ok(rule !== undefined);
      const expected =
        fires === undefined
          ? []
          : [
              {
                exp_labels: { ...fires.labels, severity: rule.severity },
                exp_annotations: { summary: fires.summary, runbook_url: runbookOf(rule) },
              },
            ];
      const input = Object.entries(series).map(([name, values]) => ({ series: name, values }));
      const path = join(directory, "case.yaml");
      const moment = { eval_time: `${atMinutes}m`, alertname: alert, exp_alerts: expected };
      writeFileSync(
        path,
        stringify({
          rule_files: [rulesPath],
          evaluation_interval: "1m",
          tests: [{ interval: "1m", input_series: input, alert_rule_test: [moment] }],
        }),
      );
      run(context, "test", "rules", path);
    });
  }
});
