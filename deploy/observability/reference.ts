import type { AttributeValues } from "@lobsterd/chassis/metrics.ts";
import { catalogues, kindOf } from "./catalogue.ts";
import { prometheusLabel, prometheusName } from "./prometheus-names.ts";

const shownValues = 8;

/** Every metric as Prometheus has it, as a page. Pure. */
export function metricsPage(): string {
  const head = [
    "# Metrics",
    "",
    "Written by `make observability` from `services/*/src/metrics.ts`. Each series also has `job` (`lobsterd/<service>`) and `instance` (the host).",
    "A value outside of the list of a label is `other`. A histogram is `_bucket`, `_sum` and `_count`.",
  ];
  const sections = Object.entries(catalogues).flatMap(([service, specs]) => [
    "",
    `## ${service === "chassis" ? "Every service" : service}`,
    "",
    "| Metric | Kind | Labels | What |",
    "|---|---|---|---|",
    ...specs.map((spec) => {
      const name = prometheusName(spec.name, spec.unit, kindOf(spec));
      const labels = Object.entries(spec.attributes ?? {}).map(([attribute, values]) => labelText(attribute, values));
      return `| \`${name}\` | ${kindOf(spec)} | ${labels.join("; ")} | ${spec.description} |`;
    }),
  ]);
  return `${[...head, ...sections].join("\n")}\n`;
}

function labelText(attribute: string, values: AttributeValues): string {
  const label = `\`${prometheusLabel(attribute)}\``;
  if ("boundedBy" in values) return `${label}: ${values.boundedBy}`;
  const more = values.length > shownValues ? ", and more" : "";
  return `${label}: ${values.slice(0, shownValues).join(", ")}${more}`;
}
