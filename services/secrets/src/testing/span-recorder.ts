import { type Attributes, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";

/**
 * Everything that spans are given from now on, as text. Once per process: the tracer provider is global. Server spans of
 * `AgentService` are left out: they are the test's own guest, which in production has no way to a collector.
 */
export function recordSpans(): readonly string[] {
  const said: string[] = [];
  let count = 0;

  function startSpan(name: string, options: { kind?: SpanKind; attributes?: Attributes } = {}): Span {
    const isGuest = options.kind === SpanKind.SERVER && name.startsWith("lobsterd.agent.");
    const tell = (what: string, value: unknown): Span => {
      if (!isGuest) said.push(`${what} ${JSON.stringify(value)}`);
      return span;
    };
    count += 1;
    const spanContext = { traceId: "1".repeat(32), spanId: String(count).padStart(16, "0"), traceFlags: 1 };
    const span: Span = {
      spanContext: () => spanContext,
      setAttribute: (key, value) => tell("attribute", [key, value]),
      setAttributes: (attributes) => tell("attributes", attributes),
      addEvent: (event, attributes) => tell("event", [event, attributes]),
      addLink: (link) => tell("link", link),
      addLinks: (links) => tell("links", links),
      setStatus: (status) => tell(`status ${SpanStatusCode[status.code]}`, status.message),
      updateName: (newName) => tell("name", newName),
      end: () => void tell("end", name),
      isRecording: () => true,
      recordException: (error) => void tell("exception", String(error)),
    };
    return tell("start", [name, options.attributes]);
  }

  function startActiveSpan(name: string, ...rest: unknown[]): unknown {
    const run = rest.at(-1);
    if (typeof run !== "function") throw new TypeError("no function to run in a span");
    return run(startSpan(name));
  }

  // The interface overloads `startActiveSpan`; the chassis uses the form with a function last.
  trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan, startActiveSpan: startActiveSpan as never }) });
  return said;
}
