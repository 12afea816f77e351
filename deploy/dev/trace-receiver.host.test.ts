import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { fetchTrace } from "../client/trace.ts";
import { relayOnce } from "../observability/relay.ts";
import { startTraceReceiver } from "./trace-receiver.ts";
import { renderTraceTree } from "./trace-tree.ts";

const run = promisify(execFile);
const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";

async function start(context: TestContext, filePath?: string) {
  const receiver = await startTraceReceiver({
    host: "127.0.0.1",
    port: 0,
    ...(filePath === undefined ? {} : { filePath }),
  });
  context.after(() => receiver.close());
  const url = `http://127.0.0.1:${receiver.port}`;
  return {
    url,
    postMetrics: (body: string) =>
      fetch(`${url}/v1/metrics`, { method: "POST", body, headers: { "content-type": "application/json" } }),
    post: (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
      fetch(`${url}/v1/traces`, { method: "POST", body, headers: { "content-type": "application/json", ...headers } }),
  };
}

function exportOf(service: string, spanId: string, parentSpanId = ""): string {
  const times = { startTimeUnixNano: "1764000000000000000", endTimeUnixNano: "1764000000001000000" };
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: [{ key: "service.name", value: { stringValue: service } }] },
        scopeSpans: [{ spans: [{ traceId, spanId: spanId.repeat(16), parentSpanId, name: "span", ...times }] }],
      },
    ],
  });
}

describe("trace receiver", () => {
  it("gets the spans of two processes from the platform's own exporter, as one trace", async (context) => {
    const { url } = await start(context);
    // A process like any service: the preload decides from its environment, and the parent comes from outside.
    const program = `
      import { currentTraceparent, flushTraces, inSpan, withRemoteParent } from "@lobsterd/chassis/tracing.ts";
      await withRemoteParent(process.argv[1], () =>
        inSpan("outer", { slot: 7 }, async () => {
          process.stdout.write(currentTraceparent() ?? "");
          await inSpan("inner", {}, async () => { throw new Error("broken"); }).catch(() => undefined);
        }),
      );
      await flushTraces();`;
    const service = async (name: string, parent: string): Promise<string> => {
      const preload = ["--import", "@lobsterd/chassis/telemetry.ts", "--input-type=module", "--eval", program, parent];
      const { stdout } = await run(process.execPath, preload, {
        cwd: import.meta.dirname,
        env: { PATH: process.env["PATH"], OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_SERVICE_NAME: name },
        timeout: 60_000,
        maxBuffer: 1024 * 1024,
      });
      return stdout;
    };
    const traceparent = await service("vm", "");
    const id = traceparent.split("-")[1] ?? "";
    await service("net", traceparent);
    const spans = await fetchTrace(url, id, { services: ["vm", "net"], waitMs: 20_000 });
    const tree = renderTraceTree(spans)
      .split("\n")
      .slice(2)
      .map((line) => line.slice(19));
    assert.deepEqual(tree, ["outer [vm]", "├─ inner [vm] FAILED", "└─ outer [net]", "   └─ inner [net] FAILED", ""]);
    assert.deepEqual(spans.find(({ service: name, failed }) => name === "vm" && !failed)?.attributes, { slot: 7 });
  });

  it("gets the metrics of a process from the platform's own exporter, as Prometheus reads them", async (context) => {
    const { url } = await start(context);
    const program = `
      import { defineMetrics } from "@lobsterd/chassis/metrics.ts";
      import { flushTraces } from "@lobsterd/chassis/tracing.ts";
      const made = defineMetrics({
        drops: { name: "test.drops", kind: "counter", unit: "{packet}", description: "", attributes: { "drop.reason": ["late"] } },
        duration: { name: "test.duration", kind: "histogram", unit: "s", description: "", buckets: [0.1, 1] },
        size: { name: "test.size", kind: "gauge", unit: "By", description: "" },
      });
      made.drops.add(3, { "drop.reason": "late" });
      for (const seconds of [0.05, 0.5, 4]) made.duration.record(seconds);
      made.size.observe(() => 12);
      await flushTraces();`;
    const preload = ["--import", "@lobsterd/chassis/telemetry.ts", "--input-type=module", "--eval", program];
    await run(process.execPath, preload, {
      cwd: import.meta.dirname,
      env: { PATH: process.env["PATH"], OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_SERVICE_NAME: "net" },
      timeout: 60_000,
    });
    const text = await (await fetch(`${url}/metrics`)).text();
    const origin = `job="lobsterd/net",instance="${hostname()}"`;
    for (const line of [
      "# TYPE test_drops_total counter",
      `test_drops_total{${origin},drop_reason="late"} 3`,
      `test_duration_seconds_bucket{${origin},le="0.1"} 1`,
      `test_duration_seconds_bucket{${origin},le="1"} 2`,
      `test_duration_seconds_bucket{${origin},le="+Inf"} 3`,
      `test_duration_seconds_sum{${origin}} 4.55`,
      `test_duration_seconds_count{${origin}} 3`,
      `test_size_bytes{${origin}} 12`,
    ])
      assert.ok(text.split("\n").includes(line), `${line} is not in\n${text}`);
    assert.match(text, /^process_memory_usage_bytes\{[^}]*\} \d{7,}$/m);
  });

  it("holds a reader until the services are there, and answers with what there is when the wait is over", async (context) => {
    const { url, post } = await start(context);
    const waiting = fetchTrace(url, traceId, { services: ["vm", "net"], waitMs: 20_000 });
    await post(exportOf("vm", "1"));
    await post(exportOf("net", "2", "1".repeat(16)));
    assert.deepEqual((await waiting).map(({ service }) => service).sort(), ["net", "vm"]);
    const incomplete = await fetchTrace(url, traceId, { services: ["audit"], waitMs: 50 });
    assert.equal(incomplete.length, 2);
    assert.deepEqual(await fetchTrace(url, "0".repeat(32), { services: [], waitMs: 0 }), []);
  });

  it("hands on what it got, once, to a collector that is elsewhere", async (context) => {
    const [near, far] = [await start(context), await start(context)];
    await near.post(exportOf("vm", "1"));
    const last = await relayOnce(near.url, far.url, 0);
    await near.post(exportOf("net", "2", "1".repeat(16)));
    assert.equal(await relayOnce(near.url, far.url, last), last + 1);
    const relayed = await fetchTrace(far.url, traceId, { services: ["vm", "net"], waitMs: 1000 });
    assert.deepEqual(relayed.map(({ service }) => service).sort(), ["net", "vm"]);
    await assert.rejects(relayOnce(near.url, "http://127.0.0.1:1", 0));
  });

  it("takes gzip and writes JSON lines if asked", async (context) => {
    const directory = mkdtempSync(join(tmpdir(), "lobsterd-traces-"));
    context.after(() => rmSync(directory, { recursive: true, force: true }));
    const path = join(directory, "spans.jsonl");
    const { post } = await start(context, path);
    assert.equal((await post(gzipSync(exportOf("vm", "1")), { "content-encoding": "gzip" })).status, 200);
    await post(exportOf("net", "2"));
    const services = readFileSync(path, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).service);
    assert.deepEqual(services, ["vm", "net"]);
  });

  it("refuses what it cannot take, and says why", async (context) => {
    const { url, post, postMetrics } = await start(context);
    const refusals: Array<[Response, number, RegExp]> = [
      [await post(new Uint8Array([1]), { "content-type": "application/x-protobuf" }), 415, /http\/json/],
      [await post("{}", { "content-encoding": "br" }), 415, /gzip/],
      [await post("{"), 400, /not JSON/],
      [await postMetrics("{"), 400, /not JSON/],
      [await postMetrics('{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":1}]}]}]}'), 400, /name/],
      [await post("x".repeat(4 * 1024 * 1024 + 1)), 413, /longer than/],
      [await post(gzipSync("x".repeat(5 * 1024 * 1024)), { "content-encoding": "gzip" }), 400, /gzip/],
      [await fetch(`${url}/traces/x`), 404, /GET \/traces/],
      [await fetch(`${url}/traces/${traceId}?wait=soon`), 400, /wait/],
    ];
    for (const [response, status, why] of refusals) {
      assert.equal(response.status, status);
      assert.match(await response.text(), why);
    }
  });
});
