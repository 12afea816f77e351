import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { TraceSpan } from "../client/trace.ts";
import { renderTraceTree } from "./trace-tree.ts";

function span(spanId: string, parentSpanId: string, changes: Partial<TraceSpan>): TraceSpan {
  return {
    ...{ traceId: "4bf92f3577b34da6a3ce929d0e0e4736", spanId, parentSpanId, name: spanId, service: "vm" },
    ...{ startMs: 1000, durationMs: 1, failed: false, attributes: {} },
    ...changes,
  };
}

describe("trace tree", () => {
  it("draws a spawn", () => {
    const spans = [
      span("d", "b", {
        name: "lobsterd.net.v1.NetworkService/AttachNetwork",
        service: "net",
        startMs: 1004.25,
        durationMs: 12,
      }),
      span("a", "", { name: "demo", service: "caller", startMs: 1000, durationMs: 4321.5 }),
      span("b", "a", { name: "lobsterd.vm.v1.TenantService/SpawnTenant", startMs: 1000.8, durationMs: 4320 }),
      span("f", "e", { name: "inject", service: "agent", startMs: 5200, durationMs: 3.2, failed: true }),
      span("c", "b", {
        name: "lobsterd.audit.v1.AuditService/AppendRecord",
        service: "audit",
        startMs: 1001,
        durationMs: 2.04,
      }),
      span("e", "b", { name: "boot", startMs: 1020, durationMs: 4200 }),
      span("g", "zz", { name: "health", service: "proxy", startMs: 999, durationMs: 0.5 }),
    ];
    const expected = `trace 4bf92f3577b34da6a3ce929d0e0e4736: 7 spans, 6 services, 4322.5 ms
   at ms  took ms
     1.0   4321.5  demo [caller]
     1.8   4320.0  └─ lobsterd.vm.v1.TenantService/SpawnTenant [vm]
     2.0      2.0     ├─ lobsterd.audit.v1.AuditService/AppendRecord [audit]
     5.3     12.0     ├─ lobsterd.net.v1.NetworkService/AttachNetwork [net]
    21.0   4200.0     └─ boot [vm]
  4201.0      3.2        └─ inject [agent] FAILED
     0.0      0.5  health [proxy] (parent missing)
`;
    assert.equal(renderTraceTree(spans), expected);
    assert.equal(renderTraceTree(spans.toReversed()), expected);
  });

  it("keeps within 100 columns, however deep and long", () => {
    const spans = Array.from({ length: 60 }, (_, depth) =>
      span(`s${depth}`, depth === 0 ? "" : `s${depth - 1}`, {
        name: "x".repeat(300),
        service: "y".repeat(300),
        startMs: 1000 + depth,
      }),
    );
    const lines = renderTraceTree(spans).split("\n");
    assert.ok(lines.length > 15);
    for (const line of lines) assert.ok(line.length <= 100, `${line.length}: ${line}`);
    assert.match(lines.join("\n"), /… 1 deeper/);
  });

  it("ends with spans that are one another's parents, and with very many", () => {
    const circle = renderTraceTree([span("a", "b", {}), span("b", "a", {}), span("c", "c", {})]);
    assert.equal(circle.split("\n").filter((line) => line.includes("[vm]")).length, 3);
    const many = renderTraceTree(
      Array.from({ length: 5000 }, (_, number) => span(`s${number}`, number === 0 ? "" : "s0", {})),
    );
    assert.ok(many.split("\n").length < 510);
  });

  it("prints nothing that a terminal would obey", () => {
    const text = renderTraceTree([span("a", "", { name: "\u001b[2Jevil\r\n", service: "a\u0007b" })]);
    assert.match(text, /\?\[2Jevil\?\? \[a\?b\]/);
  });

  it("says when there is nothing", () => {
    assert.equal(renderTraceTree([]), "no spans\n");
  });
});
