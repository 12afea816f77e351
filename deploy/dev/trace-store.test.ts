import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { TraceSpan } from "../client/trace.ts";
import { parseOtlpSpans } from "./trace-otlp.ts";
import { TraceStore } from "./trace-store.ts";

const ids = { a: "a".repeat(32), b: "b".repeat(32), c: "c".repeat(32) };
const never = new AbortController().signal;

function span(traceId: string, spanId: string, changes: Partial<TraceSpan> = {}): TraceSpan {
  return {
    ...{ traceId, spanId, parentSpanId: "", name: "n", service: "vm", startMs: 1, durationMs: 1 },
    ...{ failed: false, attributes: {} },
    ...changes,
  };
}

describe("trace store", () => {
  it("drops whole traces over its bound, the quietest first", () => {
    const store = new TraceStore(4);
    store.add([span(ids.a, "1"), span(ids.b, "2"), span(ids.a, "3")]);
    store.add([span(ids.c, "4"), span(ids.c, "5")]);
    assert.deepEqual(
      [ids.a, ids.b, ids.c].map((id) => store.get(id).length),
      [2, 0, 2],
    );
    assert.equal(store.size, 4);
  });

  it("bounds a trace that grows without end and keeps its newest spans", () => {
    const store = new TraceStore(3);
    for (let number = 0; number < 10; number += 1) store.add([span(ids.a, String(number))]);
    assert.deepEqual(
      store.get(ids.a).map(({ spanId }) => spanId),
      ["7", "8", "9"],
    );
    assert.equal(store.size, 3);
  });

  it("takes a span that is sent twice once", () => {
    const store = new TraceStore(10);
    store.add([span(ids.a, "1"), span(ids.a, "1", { name: "again" })]);
    assert.equal(store.size, 1);
  });

  it("answers when services, number and parents are there", async () => {
    const store = new TraceStore(10, () => 0);
    let done = false;
    const settled = store.settled(ids.a, { spans: 3, services: ["vm", "net"] }, 60_000, never).then(() => {
      done = true;
    });
    const turn = () => new Promise(setImmediate);
    store.add([span(ids.a, "2", { parentSpanId: "1" }), span(ids.a, "3", { parentSpanId: "2" })]);
    await turn();
    assert.equal(done, false, "a service is missing");
    store.add([span(ids.a, "4", { parentSpanId: "1", service: "net" })]);
    await turn();
    assert.equal(done, false, "the parent of two spans is missing");
    store.add([span(ids.a, "1")]);
    await settled;
    assert.equal(store.get(ids.a).length, 4);
  });

  it("does not wait for a parent that never comes once the trace is quiet", async () => {
    let now = 0;
    const store = new TraceStore(10, () => now);
    store.add([span(ids.a, "2", { parentSpanId: "1" })]);
    now = 1200;
    assert.equal(await store.settled(ids.a, { spans: 1, services: [] }, 60_000, never), true);
  });

  it("ends at once without a wait, when the caller goes, and when too many wait", async () => {
    const store = new TraceStore(10, () => 0);
    const wish = { spans: 1, services: [] };
    assert.equal(await store.settled(ids.a, wish, 0, never), true);
    const gone = new AbortController();
    const waiting = Array.from({ length: 128 }, () => store.settled(ids.a, wish, 60_000, gone.signal));
    assert.equal(await store.settled(ids.a, wish, 60_000, never), false);
    gone.abort();
    assert.deepEqual(new Set(await Promise.all(waiting)), new Set([true]));
  });
});

describe("OTLP in JSON", () => {
  const body = (span: object, service: object[] = [{ key: "service.name", value: { stringValue: "net" } }]) =>
    JSON.stringify({ resourceSpans: [{ resource: { attributes: service }, scopeSpans: [{ spans: [span] }] }] });
  const one = {
    ...{ traceId: "AB".repeat(16), spanId: "cd".repeat(8), name: "AttachNetwork", kind: 2, flags: 257 },
    ...{ startTimeUnixNano: "1764000000123456789", endTimeUnixNano: "1764000000125456789" },
  };

  it("becomes spans", () => {
    const attributes = [
      { key: "slot", value: { intValue: "7" } },
      { key: "name", value: { stringValue: "x" } },
      { key: "ok", value: { boolValue: true } },
      { key: "list", value: { arrayValue: { values: [] } } },
    ];
    assert.deepEqual(parseOtlpSpans(body({ ...one, attributes, status: { code: 2 } })), [
      {
        ...{ traceId: "ab".repeat(16), spanId: "cd".repeat(8), parentSpanId: "", name: "AttachNetwork" },
        ...{ service: "net", startMs: 1_764_000_000_123.456, durationMs: 2, failed: true },
        attributes: { slot: 7, name: "x", ok: true },
      },
    ]);
    assert.equal(parseOtlpSpans(body(one, []))[0]?.service, "unknown");
    assert.equal(parseOtlpSpans(body(one))[0]?.failed, false);
  });

  for (const [what, text] of [
    ["what is not JSON", "{"],
    ["what is not an export request", "[]"],
    ["an id that is none", body({ ...one, traceId: "../x" })],
    ["a time that is none", body({ ...one, startTimeUnixNano: "soon" })],
    ["too many spans", JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: Array(10_001).fill(one) }] }] })],
  ] as const) {
    it(`is refused if it holds ${what}`, () => {
      assert.throws(() => parseOtlpSpans(text), { name: "OtlpError" });
    });
  }
});
