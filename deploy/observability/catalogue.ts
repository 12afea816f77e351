import { chassisMetrics } from "@lobsterd/chassis/chassis-metrics.ts";
import { type MetricSpec, specsOf } from "@lobsterd/chassis/metrics.ts";
import { auditMetrics } from "../../services/audit/src/metrics.ts";
import { netMetrics } from "../../services/net/src/metrics.ts";
import { proxyMetrics } from "../../services/proxy/src/metrics.ts";
import { secretsMetrics } from "../../services/secrets/src/metrics.ts";
import { vmMetrics } from "../../services/vm/src/metrics.ts";
import { serviceNames } from "../dev/instance.ts";
import { type PrometheusKind, prometheusLabel, prometheusName } from "./prometheus-names.ts";

/** Every metric that is declared, by who exports it; `chassis` is what all services do. */
export const catalogues: Readonly<Record<string, readonly MetricSpec[]>> = {
  chassis: specsOf(chassisMetrics),
  vm: specsOf(vmMetrics),
  net: specsOf(netMetrics),
  proxy: specsOf(proxyMetrics),
  secrets: specsOf(secretsMetrics),
  audit: specsOf(auditMetrics),
};

/** Value of Prometheus's label `job` for each service. */
export const jobs: readonly string[] = serviceNames.map((name) => `lobsterd/${name}`);

/** What Prometheus has of a metric. */
export interface PrometheusMetric {
  readonly spec: MetricSpec;
  readonly kind: PrometheusKind;
  readonly labels: ReadonlySet<string>;
}

/** Every metric under each name that a query may use it by: a histogram has three. */
export function prometheusMetrics(): ReadonlyMap<string, PrometheusMetric> {
  const metrics = new Map<string, PrometheusMetric>();
  for (const spec of Object.values(catalogues).flat()) {
    const kind = kindOf(spec);
    const name = prometheusName(spec.name, spec.unit, kind);
    const labels = ["job", "instance", ...Object.keys(spec.attributes ?? {}).map(prometheusLabel)];
    const metric = { spec, kind, labels: new Set(labels) };
    if (kind !== "histogram") metrics.set(name, metric);
    else {
      metrics.set(`${name}_bucket`, { ...metric, labels: new Set([...labels, "le"]) });
      metrics.set(`${name}_sum`, metric).set(`${name}_count`, metric);
    }
  }
  return metrics;
}

export function kindOf({ kind }: MetricSpec): PrometheusKind {
  return kind === "observable-counter" ? "counter" : kind;
}
