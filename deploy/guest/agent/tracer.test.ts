import assert from "node:assert/strict";
import { test } from "node:test";
import { parseTraceparent, Tracer } from "./tracer.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const parent = { traceId, spanId: "b7ad6b7169203331" };

test("a sampled traceparent is a parent", () => {
  assert.deepEqual(parseTraceparent(`00-${traceId}-b7ad6b7169203331-01`), parent);
});

test("malformed, zero and unsampled parents are none", () => {
  const wrong = [
    undefined,
    null,
    "",
    `00-${traceId}-b7ad6b7169203331-00`,
    `00-${"0".repeat(32)}-b7ad6b7169203331-01`,
    `00-${traceId}-${"0".repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-b7ad6b7169203331-01`,
    `00-${traceId}-b7ad6b7169203331-01-more`,
  ];
  for (const value of wrong) assert.equal(parseTraceparent(value), undefined, String(value));
});

test("a finished span is returned once, with its parent and times", () => {
  let now = 100;
  const tracer = new Tracer({ now: () => now });
  const span = tracer.start("workload.start", parent);
  now = 250;
  assert.deepEqual(tracer.take(traceId), [], "an open span is not finished");
  span?.end({ failed: true });
  span?.end();
  const [finished, ...others] = tracer.take(traceId);
  assert.equal(others.length, 0);
  assert.equal(finished?.parentSpanId, parent.spanId);
  assert.match(finished?.spanId ?? "", /^[0-9a-f]{16}$/);
  assert.deepEqual([finished?.startMs, finished?.endMs, finished?.failed], [100, 250, true]);
  assert.deepEqual(tracer.take(traceId), []);
});

test("without a parent nothing is recorded", () => {
  assert.equal(new Tracer().start("guest.boot", undefined), undefined);
});

test("spans of a trace and traces are bounded; the longest silent trace goes first", () => {
  const tracer = new Tracer({ maximumSpans: 2, maximumTraces: 2 });
  const record = (id: string) => tracer.start("s", { traceId: id, spanId: parent.spanId })?.end();
  for (const id of ["a", "a", "a", "b", "a", "c"]) record(id.repeat(32));
  assert.equal(tracer.take("a".repeat(32)).length, 2);
  assert.equal(tracer.take("b".repeat(32)).length, 0);
  assert.equal(tracer.take("c".repeat(32)).length, 1);
});
