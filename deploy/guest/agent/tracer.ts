import { randomBytes } from "node:crypto";

/** A place in a trace: 32 and 16 lower-case hexadecimal digits. */
export type SpanContext = { readonly traceId: string; readonly spanId: string };

/** Times are milliseconds since 1970, with fractions. */
export type Finished = SpanContext & {
  readonly parentSpanId: string;
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly failed: boolean;
};

export type OpenSpan = { readonly context: SpanContext; end(outcome?: { failed: boolean }): void };

const traceparentPattern = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** The parent in a W3C traceparent; undefined when it is malformed, all zero or not sampled. */
export function parseTraceparent(value: string | null | undefined): SpanContext | undefined {
  const [, traceId = "", spanId = "", flags = "0"] = traceparentPattern.exec(value ?? "") ?? [];
  if (!/[1-9a-f]/.test(traceId) || !/[1-9a-f]/.test(spanId) || (Number.parseInt(flags, 16) & 1) === 0) return undefined;
  return { traceId, spanId };
}

/**
 * Keeps the finished spans of the last traces until the host asks for them: the guest has no way to a collector. An
 * OpenTelemetry SDK would do the same at a multiple of the agent's own start-up time.
 */
export class Tracer {
  readonly #finished = new Map<string, Finished[]>();
  readonly #now: () => number;
  readonly #maximumSpans: number;
  readonly #maximumTraces: number;

  constructor(options: { now?: () => number; maximumSpans?: number; maximumTraces?: number } = {}) {
    this.#now = options.now ?? (() => performance.timeOrigin + performance.now());
    this.#maximumSpans = options.maximumSpans ?? 64;
    this.#maximumTraces = options.maximumTraces ?? 16;
  }

  /** Opens a span below `parent`; without a parent nothing is recorded and undefined is returned. */
  start(name: string, parent: SpanContext | undefined, startMs = this.#now()): OpenSpan | undefined {
    if (parent === undefined) return undefined;
    const context = { traceId: parent.traceId, spanId: randomBytes(8).toString("hex") };
    let open = true;
    return {
      context,
      end: (outcome = { failed: false }) => {
        if (!open) return;
        open = false;
        this.#keep({
          ...context,
          parentSpanId: parent.spanId,
          name,
          startMs,
          endMs: this.#now(),
          failed: outcome.failed,
        });
      },
    };
  }

  #keep(span: Finished): void {
    const spans = this.#finished.get(span.traceId) ?? [];
    if (spans.length < this.#maximumSpans) spans.push(span);
    this.#finished.delete(span.traceId);
    this.#finished.set(span.traceId, spans);
    // A Map keeps insertion order, so the first key is the trace that has been silent for longest.
    for (const oldest of this.#finished.keys()) {
      if (this.#finished.size <= this.#maximumTraces) break;
      this.#finished.delete(oldest);
    }
  }

  /** Returns a trace's finished spans and forgets them. */
  take(traceId: string): readonly Finished[] {
    const spans = this.#finished.get(traceId) ?? [];
    this.#finished.delete(traceId);
    return spans;
  }
}
