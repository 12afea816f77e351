import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { ForeignSpans } from "@lobsterd/chassis/foreign-spans.ts";
import type { FinishedSpan } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";

/** Longest span that a guest is believed. */
const maxSpanMs = 3_600_000;

/** Hands on what a guest says it did. A span that ends before it starts, or lasts longer than an hour, is left out. */
export function reportGuestSpans(sink: ForeignSpans): (spans: readonly FinishedSpan[]) => void {
  return (spans) => {
    for (const span of spans) {
      if (span.startTime === undefined || span.endTime === undefined) continue;
      const startMs = timestampMs(span.startTime);
      const endMs = timestampMs(span.endTime);
      if (endMs < startMs || endMs - startMs > maxSpanMs) continue;
      const { traceId, spanId, parentSpanId, name, failed } = span;
      sink.report({ traceId, spanId, parentSpanId, name, startMs, endMs, failed });
    }
  };
}
