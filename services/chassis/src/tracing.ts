import { type Attributes, context, propagation, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { codeName, reasonOf, toConnectError } from "./errors.ts";

const flushers: Array<() => Promise<void>> = [];

/** The one tracer of the chassis; without a preload of telemetry it does nothing. */
export const tracer = trace.getTracer("lobsterd");

/**
 * Runs `fn` in a span of its own, the child of the active one, and returns what it returns. A failure is recorded on the span
 * by its reason, never by its text, and thrown on.
 */
export async function inSpan<T>(name: string, attributes: Attributes, fn: (span: Span) => Promise<T>): Promise<T> {
  return await runInSpan(name, SpanKind.INTERNAL, attributes, fn);
}

/** `inSpan` with a span kind, for adapters of a protocol. */
export async function runInSpan<T>(
  name: string,
  kind: SpanKind,
  attributes: Attributes,
  fn: (span: Span) => Promise<T>,
): Promise<T> {
  return await tracer.startActiveSpan(name, { kind, attributes }, async (span) => {
    try {
      return await fn(span);
    } catch (error) {
      recordFailure(span, error);
      throw error;
    } finally {
      span.end();
    }
  });
}

/**
 * Adds stages that another process timed for the active span: children of it, one after the other, the last one ending now. For a
 * process that has no way to a collector and says in its answer where the time went.
 */
export function reportStages(stages: readonly { readonly name: string; readonly durationMs: number }[]): void {
  const totalMs = stages.reduce((sum, { durationMs }) => sum + durationMs, 0);
  let atMs = Date.now() - totalMs;
  for (const { name, durationMs } of stages) {
    const span = tracer.startSpan(name, { kind: SpanKind.INTERNAL, startTime: atMs });
    atMs += durationMs;
    span.end(atMs);
  }
}

/** W3C `traceparent` of the active span, to hand to another process; `undefined` outside a recorded trace. */
export function currentTraceparent(): string | undefined {
  const carrier: Record<string, string> = {};
  propagation.inject(context.active(), carrier);
  return carrier.traceparent;
}

/** Runs `fn` as if the span named by `traceparent` were its parent; a missing or malformed one changes nothing. */
export function withRemoteParent<T>(traceparent: string | undefined, fn: () => T): T {
  if (traceparent === undefined) return fn();
  return context.with(propagation.extract(context.active(), { traceparent }), fn);
}

/** Trace id of the active span as 32 hexadecimal digits, or `""`. */
export function currentTraceId(): string {
  return trace.getActiveSpan()?.spanContext().traceId ?? "";
}

/** Marks a span as failed. Messages stay out of spans: they may hold what a caller or a guest sent. */
export function recordFailure(span: Span, error: unknown): void {
  const reason = reasonOf(error) ?? codeName(toConnectError(error).code);
  span.setAttribute("error.type", reason);
  span.setStatus({ code: SpanStatusCode.ERROR, message: reason });
}

/** Registers what `flushTraces` waits for; called by the telemetry preload. */
export function onFlush(flush: () => Promise<void>): void {
  flushers.push(flush);
}

/** Sends what is still queued. Never rejects: a collector that is down must not change how a process ends. */
export async function flushTraces(): Promise<void> {
  await Promise.allSettled(flushers.map((flush) => flush()));
}
