import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeSDK } from "@opentelemetry/sdk-node";
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace";
import { inSpan, reportStages } from "./tracing.ts";

const exporter = new InMemorySpanExporter();
new NodeSDK({
  autoDetectResources: false,
  spanProcessors: [new SimpleSpanProcessor({ exporter })],
  metricReaders: [],
  logRecordProcessors: [],
  instrumentations: [],
}).start();

test("stages of another process are children of the active span, one after the other, and end with it", async () => {
  await inSpan("start", {}, async () => {
    reportStages([
      { name: "first", durationMs: 20.5 },
      { name: "second", durationMs: 4.25 },
    ]);
  });
  const [first, second, start] = exporter.getFinishedSpans();
  assert.ok(first !== undefined && second !== undefined && start !== undefined);
  const ms = ([seconds, nanoseconds]: readonly [number, number]) => seconds * 1000 + nanoseconds / 1e6;
  assert.deepEqual([first.name, second.name, start.name], ["first", "second", "start"]);
  for (const { parentSpanContext } of [first, second]) {
    assert.equal(parentSpanContext?.spanId, start.spanContext().spanId);
  }
  assert.deepEqual([ms(first.duration), ms(second.duration)], [20.5, 4.25]);
  assert.deepEqual(first.endTime, second.startTime);
  assert.ok(Math.abs(ms(second.endTime) - ms(start.endTime)) < 1000);
});
