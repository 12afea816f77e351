import assert from "node:assert/strict";
import { test } from "node:test";
import { createMetricsReader } from "./metrics-reader.ts";

const report = (dropped: unknown, missed: unknown) =>
  `${JSON.stringify({ utc_timestamp_ms: 1, uart: { rate_limiter_dropped_bytes: dropped, error_count: 0 }, logger: { missed_log_count: missed } })}\n`;

test("what each report counts is summed, however the reports are cut", () => {
  for (const chunkBytes of [1, 7, 1000]) {
    const reader = createMetricsReader();
    const all = Buffer.from(report(5, 1) + report(0, 0) + report(7, 2));
    for (let from = 0; from < all.length; from += chunkBytes) reader.write(all.subarray(from, from + chunkBytes));
    assert.deepEqual(reader.counters, { serialDroppedBytes: 12, missedLogLines: 3, malformedReports: 0 });
  }
});

test("a report that is not one is counted, and the next one is read", () => {
  const hostile = ["{\n", "[]\n", "\n", `${"[".repeat(1000)}\n`, `"${"x".repeat(300 * 1024)}"\n`, "\xff\n"];
  for (const text of hostile) {
    const reader = createMetricsReader();
    reader.write(Buffer.from(text, "latin1"));
    reader.write(Buffer.from(report(5, 1)));
    assert.deepEqual(
      reader.counters,
      { serialDroppedBytes: 5, missedLogLines: 1, malformedReports: 1 },
      text.slice(0, 20),
    );
  }
});

test("a count that cannot be one adds nothing, and no sum passes the largest exact number", () => {
  const reader = createMetricsReader();
  for (const bad of [-1, 1.5, "5", null, {}]) reader.write(Buffer.from(report(bad, bad)));
  assert.deepEqual(reader.counters, { serialDroppedBytes: 0, missedLogLines: 0, malformedReports: 0 });
  for (let round = 0; round < 3; round++) reader.write(Buffer.from(report(Number.MAX_SAFE_INTEGER, 0)));
  assert.equal(reader.counters.serialDroppedBytes, Number.MAX_SAFE_INTEGER);
});

test("a line without an end is not kept", () => {
  const reader = createMetricsReader();
  const before = process.memoryUsage().arrayBuffers;
  const chunk = Buffer.alloc(1024 * 1024, "x");
  for (let round = 0; round < 100; round++) reader.write(chunk);
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 * 1024 * 1024);
});
