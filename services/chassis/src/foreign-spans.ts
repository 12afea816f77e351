import { type HrTime, SpanKind, SpanStatusCode, TraceFlags } from "@opentelemetry/api";
import type { Resource } from "@opentelemetry/resources";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";

/** A span that ended in a process which cannot reach a collector itself. Ids are lower-case hexadecimal. */
export interface ForeignSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for a root. */
  readonly parentSpanId: string;
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly startMs: number;
  readonly endMs: number;
  readonly failed: boolean;
}

/** Exports spans on behalf of another process, under its service name. Never blocks and never throws. */
export interface ForeignSpans {
  report(span: ForeignSpan): void;
}

/** What the telemetry preload lends: its export queue and its way to name a service. */
export interface ForeignProcessor {
  onEnd(span: ReadableSpan): void;
  resourceOf(service: string): Resource;
}

let processor: ForeignProcessor | undefined;

/** Called by the telemetry preload. */
export function setForeignProcessor(next: ForeignProcessor): void {
  processor = next;
}

/** Spans of `service`. Without telemetry it does nothing. */
export function openForeignSpans(service: string): ForeignSpans {
  if (processor === undefined) return { report: () => undefined };
  const sink = processor;
  const resource = sink.resourceOf(service);
  return { report: (span) => sink.onEnd(readable(span, resource)) };
}

function readable(span: ForeignSpan, resource: Resource): ReadableSpan {
  const context = (spanId: string) => ({ traceId: span.traceId, spanId, traceFlags: TraceFlags.SAMPLED });
  return {
    name: span.name,
    kind: SpanKind.INTERNAL,
    spanContext: () => context(span.spanId),
    ...(span.parentSpanId === "" ? {} : { parentSpanContext: { ...context(span.parentSpanId), isRemote: true } }),
    startTime: hrTime(span.startMs),
    endTime: hrTime(span.endMs),
    duration: hrTime(span.endMs - span.startMs),
    status: { code: span.failed ? SpanStatusCode.ERROR : SpanStatusCode.UNSET },
    attributes: {},
    links: [],
    events: [],
    ended: true,
    resource,
    instrumentationScope: { name: "lobsterd" },
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

function hrTime(ms: number): HrTime {
  return [Math.trunc(ms / 1000), Math.round((ms % 1000) * 1_000_000)];
}
