import { metrics } from "@opentelemetry/api";
import { DataPointType, MeterProvider, MetricReader } from "@opentelemetry/sdk-metrics";
import { type MetricSpec, otherValue } from "./metrics.ts";

/** One series as it is exported; of a histogram `value` is how often it was recorded. */
export interface Measured {
  readonly name: string;
  readonly unit: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly value: number;
}

/** Takes the place of the telemetry preload in a test: what is measured from here on can be read. */
export function captureMetrics(): { read(): Promise<readonly Measured[]>; [Symbol.dispose](): void } {
  const reader = new OnDemandReader();
  const provider = new MeterProvider({ readers: [reader] });
  metrics.disable();
  metrics.setGlobalMeterProvider(provider);
  return {
    async read() {
      const { resourceMetrics, errors } = await reader.collect();
      if (errors.length > 0) throw new AggregateError(errors, "a metric could not be read");
      return resourceMetrics.scopeMetrics.flatMap((scope) =>
        scope.metrics.flatMap((metric) => {
          const { name, unit } = metric.descriptor;
          if (metric.dataPointType === DataPointType.HISTOGRAM) {
            return metric.dataPoints.map(({ attributes, value }) => ({ name, unit, attributes, value: value.count }));
          }
          if (metric.dataPointType !== DataPointType.SUM && metric.dataPointType !== DataPointType.GAUGE) return [];
          return metric.dataPoints.map(({ attributes, value }) => ({ name, unit, attributes, value }));
        }),
      );
    },
    [Symbol.dispose]: () => metrics.disable(),
  };
}

/** What `measured` has that the declarations do not: names, units, attributes and values of attributes. */
export function undeclared(measured: readonly Measured[], specs: readonly MetricSpec[]): readonly string[] {
  return measured.flatMap(({ name, unit, attributes }) => {
    const spec = specs.find((candidate) => candidate.name === name);
    if (spec === undefined || spec.unit !== unit) return [`${name} in ${unit || "no unit"}`];
    return Object.entries(attributes).flatMap(([key, value]) => {
      const values = spec.attributes?.[key];
      if (values === undefined) return [`${name}: attribute ${key}`];
      const isKnown = "boundedBy" in values || value === otherValue || values.includes(String(value));
      return isKnown ? [] : [`${name}: ${key}=${String(value)}`];
    });
  });
}

class OnDemandReader extends MetricReader {
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}
