import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { waitFor } from "./lifecycle.ts";
import { startProcess } from "./process-fixture.ts";
import { clientFor, type Ground, makeGround } from "./server-fixture.ts";

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const parentId = "00f067aa0ba902b7";
const traceparent = `00-${traceId}-${parentId}-01`;

interface Span {
  readonly service: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly kind: number;
}

let ground: Ground;
before(() => {
  ground = makeGround();
});
after(() => ground.remove());

test("one trace from the caller through every hop, a stream and a guest", async (t) => {
  const { endpoint, spans } = await receive(t);
  const unixPath = join(ground.directory, "traced", "rpc.sock");
  const environment = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SERVICE_NAME: "audit" };
  const { output } = await startProcess(t, ground, unixPath, environment);
  const client = clientFor(ground, unixPath);
  await client.queryRecords({}, { headers: { traceparent } });
  const stream = client.tailRecords({}, { headers: { traceparent }, signal: AbortSignal.timeout(1500) });
  await Array.fromAsync(stream).catch(() => undefined);
  await client.queryRecords({}, { headers: { traceparent: traceparent.replace(/01$/, "00") } });

  const wanted = ["QueryRecords", "step", "GetInclusionProof", "boot", "TailRecords", "inside stream"];
  const startMs = Date.now();
  await waitFor("spans", async () => (wanted.every((name) => find(spans, name)) ? true : undefined), {
    timeoutMs: 5000,
    intervalMs: 50,
  });
  assert.ok(Date.now() - startMs < 3000, "spans come soon after they end");
  assert.ok(spans.every((span) => span.traceId === traceId));
  const [server, step, boot] = [find(spans, "QueryRecords"), find(spans, "step"), find(spans, "boot")];
  assert.equal(server?.parentSpanId, parentId);
  assert.equal(step?.parentSpanId, server?.spanId);
  const calls = spans.filter(({ name }) => name.endsWith("GetInclusionProof"));
  const outgoing = calls.find(({ kind }) => kind === 3);
  assert.equal(outgoing?.parentSpanId, step?.spanId);
  assert.equal(calls.find(({ kind }) => kind === 2)?.parentSpanId, outgoing?.spanId);
  assert.deepEqual([boot?.service, boot?.parentSpanId], ["agent", parentId]);
  assert.equal(find(spans, "inside stream")?.parentSpanId, find(spans, "TailRecords")?.spanId);
  assert.equal(spans.filter(({ name }) => name.endsWith("QueryRecords")).length, 1, "an unsampled parent is followed");
  const line = output()
    .split("\n")
    .find((text) => text.includes('"inside stream"'));
  assert.equal((JSON.parse(line ?? "{}") as { trace_id?: string }).trace_id, traceId);
});

test("a collector that is away or never answers does not hold up the stop", async (t) => {
  const silent = createServer(() => undefined).listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.after(() => {
    silent.closeAllConnections();
    silent.close();
  });
  for (const endpoint of ["http://127.0.0.1:1", addressOf(silent)]) {
    const unixPath = join(ground.directory, "away", "rpc.sock");
    const { child } = await startProcess(t, ground, unixPath, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint });
    await clientFor(ground, unixPath).queryRecords({}, { headers: { traceparent } });
    const startMs = performance.now();
    child.kill("SIGTERM");
    await once(child, "exit");
    assert.equal(child.exitCode, 0);
    assert.ok(performance.now() - startMs < 2200, `the stop took ${performance.now() - startMs} ms with ${endpoint}`);
  }
});

test("a rejection that nobody handles ends the process", async (t) => {
  const unixPath = join(ground.directory, "crash", "rpc.sock");
  const { child, output } = await startProcess(t, ground, unixPath);
  const exited = once(child, "exit");
  await clientFor(ground, unixPath)
    .getCheckpoint({}, { timeoutMs: 300 })
    .catch(() => undefined);
  await exited;
  assert.equal(child.exitCode, 1);
  assert.match(output(), /unhandled error, exiting/);
  assert.match(output(), /forgotten/);
});

async function receive(t: TestContext): Promise<{ endpoint: string; spans: Span[] }> {
  const spans: Span[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      if (request.url === "/v1/traces") spans.push(...decode(Buffer.concat(chunks).toString()));
      response.setHeader("content-type", "application/json").end("{}");
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { endpoint: addressOf(server), spans };
}

function decode(text: string): Span[] {
  interface Body {
    resourceSpans: Array<{
      resource: { attributes: Array<{ key: string; value: { stringValue?: string } }> };
      scopeSpans: Array<{ spans: Array<Omit<Span, "service">> }>;
    }>;
  }
  const body = JSON.parse(text) as Body;
  return body.resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = resource.attributes.find(({ key }) => key === "service.name")?.value.stringValue ?? "";
    return scopeSpans.flatMap(({ spans }) => spans.map((span) => ({ ...span, service })));
  });
}

function find(spans: readonly Span[], name: string): Span | undefined {
  return spans.find((span) => span.name === name || span.name.endsWith(`/${name}`));
}

function addressOf(server: Server): string {
  const address = server.address();
  return typeof address === "object" && address !== null ? `http://127.0.0.1:${address.port}` : assert.fail("no port");
}
