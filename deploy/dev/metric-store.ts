import { prometheusLabel, prometheusName } from "../observability/prometheus-names.ts";
import type { MetricExport, Series } from "./metric-otlp.ts";

const maxProcesses = 64;

/** The newest export of each process, as text that Prometheus can scrape: the same names and labels as behind a collector. */
export class MetricStore {
  readonly #exports = new Map<string, MetricExport>();

  add(exports: readonly MetricExport[]): void {
    for (const next of exports) {
      const key = `${next.job}\n${next.instance}`;
      if (this.#exports.size >= maxProcesses && !this.#exports.has(key)) continue;
      this.#exports.set(key, next);
    }
  }

  /** Prometheus's text format 0.0.4. Throws for a unit that has no translation. */
  text(): string {
    const families = new Map<string, { readonly kind: Series["kind"]; readonly lines: string[] }>();
    for (const { job, instance, series } of this.#exports.values()) {
      for (const one of series) {
        const name = prometheusName(one.name, one.unit, one.kind);
        const family = families.get(name) ?? { kind: one.kind, lines: [] };
        families.set(name, family);
        family.lines.push(...linesOf(name, one, { job, instance }));
      }
    }
    return [...families].map(([name, { kind, lines }]) => `# TYPE ${name} ${kind}\n${lines.join("")}`).join("");
  }
}

function linesOf(name: string, { attributes, value, buckets }: Series, origin: Record<string, string>): string[] {
  const labels = { ...origin, ...attributes };
  if (buckets === undefined) return [line(name, labels, value)];
  return [
    ...buckets.map(({ bound, count }) => line(`${name}_bucket`, { ...labels, le: numberText(bound) }, count)),
    line(`${name}_sum`, labels, value),
    line(`${name}_count`, labels, buckets.at(-1)?.count ?? 0),
  ];
}

function line(name: string, labels: Readonly<Record<string, string>>, value: number): string {
  const pairs = Object.entries(labels)
    .filter(([, text]) => text !== "")
    .map(([key, text]) => `${prometheusLabel(key)}=${JSON.stringify(text)}`);
  return `${name}{${pairs.join(",")}} ${numberText(value)}\n`;
}

function numberText(value: number): string {
  return value === Number.POSITIVE_INFINITY ? "+Inf" : String(value);
}
