/**
 * Metrics of a service, declared once: what is exported, what dashboards may name and what tests check are one list.
 *
 * 1. A metric is declared with its name, unit, description, and every value that its attributes can have. A value outside of the list is counted
 *    as `other`, so no tenant, address, id or text of a caller becomes a label whatever is passed.
 * 2. Without a metric reader in the telemetry preload nothing is made and nothing is read.
 * 3. A counter begins at 0 for every combination of values it can have: what appears with its first event has no increase to raise an alarm by.
 *    So all of a counter's values are listed.
 * 4. Names and units are OpenTelemetry's: dots, seconds (`s`), bytes (`By`); what is counted stands in braces.
 */
import {
  type Attributes,
  type BatchObservableResult,
  type Counter,
  type Histogram,
  type Meter,
  metrics,
  type Observable,
} from "@opentelemetry/api";

/** Every value an attribute can have, or what keeps their number small where the list is made elsewhere. */
export type AttributeValues = readonly string[] | { readonly boundedBy: string };

interface SpecOf<Kind extends string, Values extends AttributeValues> {
  readonly name: string;
  readonly kind: Kind;
  readonly unit: string;
  readonly description: string;
  readonly attributes?: Readonly<Record<string, Values>>;
  /** Upper bounds of a histogram's buckets, ascending. */
  readonly buckets?: readonly number[];
}

export type MetricSpec =
  | SpecOf<"counter", readonly string[]>
  | SpecOf<"histogram" | "gauge" | "observable-counter", AttributeValues>;

/** A value for each attribute that is known; one that is left out is no label. */
type AttributesOf<S extends MetricSpec> =
  S["attributes"] extends Readonly<Record<string, AttributeValues>>
    ? {
        readonly [K in keyof S["attributes"]]?: S["attributes"][K] extends readonly string[]
          ? S["attributes"][K][number]
          : string;
      }
    : Readonly<Record<string, never>>;

/** What a gauge shows now: one value, one for each combination of attributes, or nothing. */
type Reading<S extends MetricSpec> = number | undefined | readonly (readonly [number, AttributesOf<S>])[];

interface Observed<S extends MetricSpec> {
  /** Asks `read` at each export, until it is disposed. A reader that throws shows nothing. */
  observe(read: () => Reading<S> | Promise<Reading<S>>): Disposable;
}

interface InstrumentsOf<S extends MetricSpec> {
  counter: { add(amount: number, attributes?: AttributesOf<S>): void };
  histogram: { record(value: number, attributes?: AttributesOf<S>): void };
  gauge: Observed<S>;
  /** What is read is the total since the process began. */
  "observable-counter": Observed<S>;
}

export type Instruments<C extends Readonly<Record<string, MetricSpec>>> = {
  readonly [K in keyof C]: InstrumentsOf<C[K]>[C[K]["kind"]] & { readonly spec: MetricSpec };
};

export const otherValue = "other";

/** Buckets for what takes from a millisecond to minutes, in seconds. */
export const durationBuckets = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240,
] as const;

/** Declares the metrics of a service and returns the only way to write them. */
export function defineMetrics<const C extends Readonly<Record<string, MetricSpec>>>(catalogue: C): Instruments<C> {
  const instruments = Object.entries(catalogue).map(([key, spec]) => [key, { spec, ...instrumentOf(spec) }]);
  return Object.fromEntries(instruments) as Instruments<C>;
}

/** Every declaration of a catalogue. */
export function specsOf(catalogue: Readonly<Record<string, { readonly spec: MetricSpec }>>): readonly MetricSpec[] {
  return Object.values(catalogue).map(({ spec }) => spec);
}

/** Runs `run` and tells how long it took, in seconds, and what it threw; `undefined` if it did not. */
export async function timed<T>(run: () => Promise<T>, ended: (seconds: number, error: unknown) => void): Promise<T> {
  const startMs = performance.now();
  const end = (error?: unknown) => ended((performance.now() - startMs) / 1000, error);
  try {
    const result = await run();
    end();
    return result;
  } catch (error) {
    end(error ?? new Error("failed"));
    throw error;
  }
}

function instrumentOf(spec: MetricSpec): object {
  const { name, unit, description, buckets = durationBuckets } = spec;
  switch (spec.kind) {
    case "counter": {
      const counter = made((meter): Counter => meter.createCounter(name, { unit, description }));
      for (const attributes of startingPoints(spec)) counter().add(0, attributes);
      return { add: (amount: number, attributes = {}) => counter().add(amount, bounded(spec, attributes)) };
    }
    case "histogram": {
      const advice = { explicitBucketBoundaries: [...buckets] };
      const histogram = made((meter): Histogram => meter.createHistogram(name, { unit, description, advice }));
      return { record: (value: number, attributes = {}) => histogram().record(value, bounded(spec, attributes)) };
    }
    case "gauge":
    case "observable-counter": {
      const observed = made((meter): Observable => {
        const make = spec.kind === "gauge" ? meter.createObservableGauge : meter.createObservableCounter;
        return make.call(meter, name, { unit, description });
      });
      return { observe: (read: Read) => observe(spec, observed, read) };
    }
  }
}

type Read = () => Reading<MetricSpec> | Promise<Reading<MetricSpec>>;

function observe(spec: MetricSpec, observed: () => Observable, read: Read): Disposable {
  const instrument = observed();
  const callback = async (result: BatchObservableResult): Promise<void> => {
    const reading = await Promise.try(read).catch(() => undefined);
    if (reading === undefined) return;
    const readings = typeof reading === "number" ? [[reading, {}] as const] : reading;
    for (const [value, attributes] of readings) result.observe(instrument, value, bounded(spec, attributes));
  };
  const meter = currentMeter();
  meter.addBatchObservableCallback(callback, [instrument]);
  return { [Symbol.dispose]: () => meter.removeBatchObservableCallback(callback, [instrument]) };
}

/** Makes an instrument when it is first written, and again if the process got another meter provider since, as in tests. */
function made<T>(make: (meter: Meter) => T): () => T {
  let from: Meter | undefined;
  let instrument: T | undefined;
  return () => {
    const meter = currentMeter();
    if (instrument === undefined || meter !== from) instrument = make(meter);
    from = meter;
    return instrument;
  };
}

function currentMeter(): Meter {
  return metrics.getMeter("lobsterd");
}

/** Invariant 1. */
function bounded(
  { attributes: declared = {} }: MetricSpec,
  given: Readonly<Record<string, string | undefined>>,
): Attributes {
  const kept: Attributes = {};
  for (const [name, values] of Object.entries(declared)) {
    const value = given[name];
    if (value === undefined) continue;
    kept[name] = !isList(values) || values.includes(value) ? value : otherValue;
  }
  return kept;
}

/** Invariant 3. */
function startingPoints({ attributes = {} }: MetricSpec & { readonly kind: "counter" }): readonly Attributes[] {
  return Object.entries(attributes).reduce<readonly Attributes[]>(
    (points, [name, values]) =>
      points.flatMap((point) => [...values, otherValue].map((value) => ({ ...point, [name]: value }))),
    [{}],
  );
}

function isList(values: AttributeValues): values is readonly string[] {
  return Array.isArray(values);
}
