/** Writes the files that are made from the declarations of metrics: dashboards, alert rules and the reference. */
import { writeFileSync } from "node:fs";
import { alertRules, alerts } from "./alerts.ts";
import { dashboardJson } from "./dashboard.ts";
import { dashboards } from "./dashboards.ts";
import { metricsPage } from "./reference.ts";

const directory = import.meta.dirname;

/** Path below this directory to text. */
export function generatedFiles(): ReadonlyMap<string, string> {
  return new Map([
    ...dashboards.map((dashboard): [string, string] => [
      `grafana/dashboards/${dashboard.uid}.json`,
      dashboardJson(dashboard),
    ]),
    ["prometheus/alerts.yaml", alertRules()],
    ["metrics.md", metricsPage()],
  ]);
}

if (import.meta.main) {
  for (const [path, text] of generatedFiles()) {
    writeFileSync(`${directory}/${path}`, text);
    process.stdout.write(`deploy/observability/${path}\n`);
  }
  process.stdout.write(`${dashboards.length} dashboards, ${alerts.length} alert rules\n`);
}
