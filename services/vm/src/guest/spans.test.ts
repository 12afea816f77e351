import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ForeignSpan } from "@lobsterd/chassis/foreign-spans.ts";
import { FinishedSpanSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { reportGuestSpans } from "./spans.ts";

function reported(startMs: number, endMs: number): readonly ForeignSpan[] {
  const seen: ForeignSpan[] = [];
  reportGuestSpans({ report: (span) => void seen.push(span) })([
    create(FinishedSpanSchema, {
      traceId: "a".repeat(32),
      spanId: "b".repeat(16),
      name: "guest.boot",
      startTime: timestampFromMs(startMs),
      endTime: timestampFromMs(endMs),
    }),
    create(FinishedSpanSchema, { name: "without times" }),
  ]);
  return seen;
}

test("a span with sane times is handed on", () => {
  assert.deepEqual(reported(1000, 1500), [
    {
      traceId: "a".repeat(32),
      spanId: "b".repeat(16),
      parentSpanId: "",
      name: "guest.boot",
      startMs: 1000,
      endMs: 1500,
      failed: false,
    },
  ]);
});

test("a span that ends before it starts, or lasts longer than an hour, is left out", () => {
  assert.deepEqual(reported(1500, 1000), []);
  assert.deepEqual(reported(0, 3_600_001), []);
});
