/**
 * Names of OpenTelemetry metrics in Prometheus, as the collector's Prometheus exporter makes them (OpenTelemetry specification,
 * "Prometheus and OpenMetrics Compatibility"; `pkg/translator/prometheus` of opentelemetry-collector-contrib): what is no letter, digit or
 * underscore becomes an underscore, the unit is appended in words, a counter ends in `_total`.
 */
export type PrometheusKind = "counter" | "histogram" | "gauge";

/** Words of the units that are in use; what stands in braces is only a note, and no unit is no suffix. */
const unitWords: Readonly<Record<string, string>> = { s: "seconds", By: "bytes" };

/** Name of a metric, and of a histogram without its `_bucket`, `_sum` and `_count`. Throws for a unit that nobody has translated yet. */
export function prometheusName(name: string, unit: string, kind: PrometheusKind): string {
  const plain = unit.replaceAll(/\{[^}]*\}/g, "");
  const word = plain === "" ? undefined : unitWords[plain];
  if (plain !== "" && word === undefined) throw new Error(`unit ${unit} of ${name} has no translation`);
  const parts = [
    prometheusLabel(name),
    ...(word === undefined ? [] : [word]),
    ...(kind === "counter" ? ["total"] : []),
  ];
  return parts.join("_");
}

/** Name of an attribute as a label. */
export function prometheusLabel(attribute: string): string {
  return attribute.replaceAll(/[^A-Za-z0-9]+/g, "_");
}
