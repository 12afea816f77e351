import { z } from "zod";
import { OtlpError, parseOtlp } from "./otlp.ts";

const maxSeriesPerRequest = 20_000;
const maxBuckets = 256;

/** One series of the newest export of a process. */
export interface Series {
  readonly name: string;
  readonly unit: string;
  readonly kind: "counter" | "histogram" | "gauge";
  readonly attributes: Readonly<Record<string, string>>;
  /** Of a histogram the sum. */
  readonly value: number;
  /** Of a histogram: how many values are at most each bound, the last one without a bound. */
  readonly buckets?: readonly { readonly bound: number; readonly count: number }[];
}

/** What one process exported at one time. */
export interface MetricExport {
  /** `service.namespace` and `service.name`, as Prometheus's `job`. */
  readonly job: string;
  readonly instance: string;
  readonly series: readonly Series[];
}

// OTLP's JSON form: 64-bit numbers are strings.
const numberSchema = z.union([
  z.number(),
  z
    .string()
    .regex(/^-?\d{1,20}$/)
    .transform(Number),
]);
const attributesSchema = z
  .array(z.object({ key: z.string(), value: z.record(z.string(), z.unknown()).optional() }))
  .max(64)
  .default([]);
const pointSchema = z.object({
  attributes: attributesSchema,
  asDouble: z.number().optional(),
  asInt: numberSchema.optional(),
});
const histogramPointSchema = z.object({
  attributes: attributesSchema,
  count: numberSchema,
  sum: z.number().default(0),
  bucketCounts: z.array(numberSchema).max(maxBuckets),
  explicitBounds: z.array(z.number()).max(maxBuckets),
});
const metricSchema = z.object({
  name: z.string().max(128),
  unit: z.string().max(32).default(""),
  sum: z.object({ isMonotonic: z.boolean().default(false), dataPoints: z.array(pointSchema) }).optional(),
  gauge: z.object({ dataPoints: z.array(pointSchema) }).optional(),
  histogram: z.object({ dataPoints: z.array(histogramPointSchema) }).optional(),
});
const requestSchema = z.object({
  resourceMetrics: z
    .array(
      z.object({
        resource: z.object({ attributes: attributesSchema }).optional(),
        scopeMetrics: z.array(z.object({ metrics: z.array(metricSchema).default([]) })).default([]),
      }),
    )
    .max(16)
    .default([]),
});

/** The exports in the JSON body of `POST /v1/metrics`, at most 20,000 series. Throws `OtlpError`. */
export function parseOtlpMetrics(body: string): readonly MetricExport[] {
  const { resourceMetrics } = parseOtlp(requestSchema, body);
  const exports = resourceMetrics.map(({ resource, scopeMetrics }) => {
    const of = textsOf(resource?.attributes ?? []);
    const job = [of["service.namespace"], of["service.name"] ?? "unknown"]
      .filter((part) => part !== undefined)
      .join("/");
    const series = scopeMetrics.flatMap(({ metrics }) => metrics.flatMap(seriesOf));
    return { job, instance: of["service.instance.id"] ?? "", series };
  });
  if (exports.reduce((sum, { series }) => sum + series.length, 0) > maxSeriesPerRequest)
    throw new OtlpError(`more than ${maxSeriesPerRequest} series in one request`);
  return exports;
}

function seriesOf({ name, unit, sum, gauge, histogram }: z.infer<typeof metricSchema>): Series[] {
  const plain = (kind: Series["kind"], points: readonly z.infer<typeof pointSchema>[]) =>
    points.map(({ attributes, asDouble, asInt }) => {
      return { name, unit, kind, attributes: textsOf(attributes), value: asDouble ?? asInt ?? 0 };
    });
  if (histogram !== undefined) {
    return histogram.dataPoints.map(({ attributes, sum: value, bucketCounts, explicitBounds }) => {
      let count = 0;
      const buckets = bucketCounts.map((inBucket, at) => {
        count += inBucket;
        return { bound: explicitBounds[at] ?? Number.POSITIVE_INFINITY, count };
      });
      return { name, unit, kind: "histogram", attributes: textsOf(attributes), value, buckets };
    });
  }
  if (sum !== undefined) return plain(sum.isMonotonic ? "counter" : "gauge", sum.dataPoints);
  return plain("gauge", gauge?.dataPoints ?? []);
}

function textsOf(list: z.infer<typeof attributesSchema>): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const { key, value } of list) {
    const scalar = value?.stringValue ?? value?.boolValue ?? value?.doubleValue ?? value?.intValue;
    if (scalar !== undefined) texts[key] = String(scalar).slice(0, 256);
  }
  return texts;
}
