import type { TraceSpan } from "../client/trace.ts";

const maxWaiters = 128;
// Services export in batches every half second, each for itself: a trace that got nothing for longer than that is all there.
const settledMs = 1200;

/** What a reader wants to be in a trace before it is shown. */
export type TraceWish = { readonly spans: number; readonly services: readonly string[] };

type Trace = { readonly spans: Map<string, TraceSpan>; changedMs: number };

/** The newest spans, in memory, by trace. */
export class TraceStore {
  readonly #maxSpans: number;
  readonly #now: () => number;
  /** The trace that got a span last is the last one. */
  readonly #traces = new Map<string, Trace>();
  readonly #waiters = new Set<() => void>();
  #count = 0;

  constructor(maxSpans: number, now: () => number = () => performance.now()) {
    this.#maxSpans = maxSpans;
    this.#now = now;
  }

  /** Number of spans held. */
  get size(): number {
    return this.#count;
  }

  /** Adds spans. Over the bound, whole traces go, the one that was quiet for longest first. */
  add(spans: readonly TraceSpan[]): void {
    for (const span of spans) this.#put(span);
    for (const [traceId, trace] of this.#traces) {
      if (this.#count <= this.#maxSpans) break;
      this.#traces.delete(traceId);
      this.#count -= trace.spans.size;
    }
    for (const wake of [...this.#waiters]) wake();
  }

  /** The spans of a trace in order of their start; none if it is not known. */
  get(traceId: string): readonly TraceSpan[] {
    return [...(this.#traces.get(traceId)?.spans.values() ?? [])].sort((one, other) => one.startMs - other.startMs);
  }

  /**
   * Resolves when the trace has what is wished for and no span whose parent is still to come, or has been quiet for 1.2 s, and at the latest
   * when `waitMs` are over or `signal` aborts. False at once if too many wait already.
   */
  async settled(traceId: string, wish: TraceWish, waitMs: number, signal: AbortSignal): Promise<boolean> {
    if (this.#waiters.size >= maxWaiters) return false;
    const deadline = this.#now() + waitMs;
    for (;;) {
      const leftMs = Math.min(deadline - this.#now(), this.#quietMsLeft(traceId, wish));
      if (leftMs <= 0 || signal.aborted) return true;
      await this.#change(leftMs, signal);
    }
  }

  #put(span: TraceSpan): void {
    const trace = this.#traces.get(span.traceId) ?? { spans: new Map<string, TraceSpan>(), changedMs: 0 };
    // No trace is larger than the store, so one that grows without end drops its own oldest spans.
    const [oldest] = trace.spans.keys();
    if (trace.spans.size >= this.#maxSpans && oldest !== undefined && trace.spans.delete(oldest)) this.#count -= 1;
    if (!trace.spans.has(span.spanId)) this.#count += 1;
    trace.spans.set(span.spanId, span);
    trace.changedMs = this.#now();
    this.#traces.delete(span.traceId);
    this.#traces.set(span.traceId, trace);
  }

  /** How much longer the trace must be quiet to be shown; endless while something wished for is missing. */
  #quietMsLeft(traceId: string, wish: TraceWish): number {
    const trace = this.#traces.get(traceId);
    if (trace === undefined || trace.spans.size < wish.spans) return Number.POSITIVE_INFINITY;
    const spans = [...trace.spans.values()];
    const services = new Set(spans.map((span) => span.service));
    if (!wish.services.every((service) => services.has(service))) return Number.POSITIVE_INFINITY;
    if (spans.every(({ parentSpanId }) => parentSpanId === "" || trace.spans.has(parentSpanId))) return 0;
    return trace.changedMs + settledMs - this.#now();
  }

  #change(limitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, Math.ceil(limitMs));
      this.#waiters.add(done);
      signal.addEventListener("abort", done);
    });
  }
}
