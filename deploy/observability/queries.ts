/** Makes PromQL from declared metrics, so that a query cannot name what no service exports. */
import type { MetricSpec } from "@lobsterd/chassis/metrics.ts";
import { kindOf } from "./catalogue.ts";
import { prometheusLabel, prometheusName } from "./prometheus-names.ts";

interface Declared {
  readonly spec: MetricSpec;
}

/** Label matchers: `{ state: "failed" }` is equality, `{ reason: /a|b/ }` a match of the whole value, `{ step: { not: "x" } }` any other. */
type Where = Readonly<Record<string, string | RegExp | { readonly not: string }>>;

/** The window of a rate in a dashboard, which Grafana fits to the resolution. */
const dashboardWindow = "$__rate_interval";

export function nameOf({ spec }: Declared): string {
  return prometheusName(spec.name, spec.unit, kindOf(spec));
}

/** The series of a gauge, or of what `suffix` makes of a name. */
export function series(metric: Declared, where: Where = {}, suffix = ""): string {
  const matchers = Object.entries(where).map(([attribute, value]) => {
    const label = prometheusLabel(attribute);
    if (value instanceof RegExp) return `${label}=~"${value.source}"`;
    return typeof value === "string" ? `${label}="${value}"` : `${label}!="${value.not}"`;
  });
  return `${nameOf(metric)}${suffix}${matchers.length === 0 ? "" : `{${matchers.join(", ")}}`}`;
}

/** Events per second of a counter, or of a histogram, summed by attributes. */
export function rate(
  metric: Declared,
  by: readonly string[] = [],
  where: Where = {},
  window = dashboardWindow,
): string {
  return summed(by, `rate(${series(metric, where, countSuffix(metric))}[${window}])`);
}

/** Events in a window. */
export function increase(metric: Declared, window: string, by: readonly string[] = [], where: Where = {}): string {
  return summed(by, `increase(${series(metric, where, countSuffix(metric))}[${window}])`);
}

/** A quantile of a histogram, in its unit. */
export function quantile(
  share: number,
  metric: Declared,
  by: readonly string[] = [],
  where: Where = {},
  window = dashboardWindow,
): string {
  return `histogram_quantile(${share}, ${summed(["le", ...by], `rate(${series(metric, where, "_bucket")}[${window}])`)})`;
}

function countSuffix({ spec }: Declared): string {
  return spec.kind === "histogram" ? "_count" : "";
}

function summed(by: readonly string[], expression: string): string {
  return by.length === 0 ? `sum(${expression})` : `sum by (${by.map(prometheusLabel).join(", ")}) (${expression})`;
}
