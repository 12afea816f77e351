import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { TraceSpan } from "../client/trace.ts";
import { spanNames } from "../observability/span-names.ts";
import { type TraceShape, traceFaults, traceShapes } from "./trace-shapes.ts";

const caller = "00f067aa0ba902b7";

function span(spanId: string, parentSpanId: string, service: string, name: string, failed = false): TraceSpan {
  return { traceId: "", spanId, parentSpanId, name, service, startMs: 0, durationMs: 1, failed, attributes: {} };
}

const shape: TraceShape = {
  root: { service: "vm", name: "call" },
  spans: [{ service: "net", name: "attach", below: "step" }],
};
const root = span("1", caller, "vm", "call");
const step = span("2", "1", "vm", "step");

describe("the shape of a trace", () => {
  it("is found in a trace that has more", () => {
    const trace = [
      root,
      step,
      span("3", "2", "vm", "client"),
      span("4", "3", "net", "attach"),
      span("5", "4", "net", "more"),
    ];
    assert.deepEqual(traceFaults(trace, shape, caller), []);
  });

  it("is missed where a span is absent, elsewhere, failed, of another trace's root, or without its parent", () => {
    assert.deepEqual(traceFaults([root, step], shape, caller), ["no span attach of net"]);
    assert.deepEqual(traceFaults([root, step, span("4", "1", "net", "attach")], shape, caller), [
      "attach of net is not below step",
    ]);
    assert.deepEqual(traceFaults([root, step, span("4", "2", "net", "attach", true)], shape, caller), [
      "attach of net failed",
    ]);
    const cut = [root, step, span("4", "2", "net", "attach"), span("5", "9", "audit", "append")];
    assert.deepEqual(traceFaults(cut, shape, caller), [
      "audit append is below nothing that is in the trace",
      "2 roots",
    ]);
    assert.deepEqual(
      traceFaults([{ ...root, parentSpanId: "" }, step, span("4", "2", "net", "attach")], shape, caller),
      ["vm call is below nothing that is in the trace"],
    );
  });

  it("names only spans that the code makes", async () => {
    const names = await spanNames();
    for (const { root: call, spans } of Object.values(traceShapes)) {
      for (const name of [call.name, ...spans.flatMap((one) => [one.name, one.below])]) {
        // An event's span has the name of the event; the events are not declared in one place.
        assert.ok(names.has(name) || /^send vm\.[a-z-]+$/.test(name), `no span ${name}`);
      }
    }
  });
});
