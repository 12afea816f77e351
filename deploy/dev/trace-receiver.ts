import { appendFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { parseArgs } from "node:util";
import { gunzipSync } from "node:zlib";
import { ExportRing } from "./export-ring.ts";
import { parseOtlpMetrics } from "./metric-otlp.ts";
import { MetricStore } from "./metric-store.ts";
import { OtlpError } from "./otlp.ts";
import { parseOtlpSpans } from "./trace-otlp.ts";
import { TraceStore } from "./trace-store.ts";

const maxBodyBytes = 4 * 1024 * 1024;
const maxSpans = 20_000;
const maxKeptCharacters = 16 * 1024 * 1024;
const maxWaitMs = 60_000;
const maxFileBytes = 256 * 1024 * 1024;

/** A receiver that listens. */
export interface TraceReceiver {
  readonly port: number;
  close(): Promise<void>;
}

/** An answer other than 200. */
class HttpError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * A development OTLP receiver that keeps the newest 20,000 spans, and each process's newest metrics, in memory.
 *
 * `POST /v1/traces` and `POST /v1/metrics` take OTLP over HTTP in JSON, at most 4 MiB. `GET /traces/<traceId>` answers with the spans of a
 * trace (`TraceSpan[]`); with `?wait=<ms>` (at most 60,000), `&spans=<n>` and `&services=vm,net` it first waits until the trace holds those.
 * `GET /metrics` is for Prometheus to scrape. `GET /exports?after=<n>` answers with the bodies as they came, at most 16 MiB of the newest, for
 * `deploy/observability/relay.ts`. `filePath`: also append each span there as a JSON line, until the file of this run has 256 MiB.
 */
export async function startTraceReceiver(options: {
  host: string;
  port: number;
  filePath?: string;
}): Promise<TraceReceiver> {
  const store = new TraceStore(maxSpans);
  const metrics = new MetricStore();
  const ring = new ExportRing(maxKeptCharacters);
  const keep = options.filePath === undefined ? async () => undefined : openFile(options.filePath);
  const server = createServer((request, response) => {
    respond(request, response, { store, metrics, ring, keep }).catch((error: unknown) => {
      const status = error instanceof HttpError ? error.status : 500;
      const message = error instanceof Error ? error.message : String(error);
      if (status === 500) process.stderr.write(`${JSON.stringify({ message: "request failed", error: message })}\n`);
      // The rest of a body that was refused is not read, so the connection cannot be used again.
      response.setHeader("connection", "close");
      send(response, status, { error: message });
    });
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  server.maxConnections = 256;
  const { promise: listening, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(options.port, options.host, resolve);
  await listening;
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}

interface Kept {
  readonly store: TraceStore;
  readonly metrics: MetricStore;
  readonly ring: ExportRing;
  readonly keep: (lines: string) => Promise<void>;
}

async function respond(request: IncomingMessage, response: ServerResponse, kept: Kept): Promise<void> {
  const { store, metrics, ring, keep } = kept;
  const url = new URL(request.url ?? "/", "http://receiver");
  if (request.method === "POST" && url.pathname === "/v1/traces") {
    const body = await readBody(request);
    const spans = parsed(parseOtlpSpans, body);
    store.add(spans);
    ring.add({ path: "/v1/traces", body });
    await keep(spans.map((span) => `${JSON.stringify(span)}\n`).join(""));
    return send(response, 200, {});
  }
  if (request.method === "POST" && url.pathname === "/v1/metrics") {
    const body = await readBody(request);
    metrics.add(parsed(parseOtlpMetrics, body));
    ring.add({ path: "/v1/metrics", body });
    return send(response, 200, {});
  }
  if (request.method === "GET" && url.pathname === "/metrics") {
    response.setHeader("content-type", "text/plain; version=0.0.4");
    response.end(metrics.text());
    return;
  }
  if (request.method === "GET" && url.pathname === "/exports") {
    return send(response, 200, ring.after(numberIn(url, "after", Number.MAX_SAFE_INTEGER)));
  }
  const traceId = /^\/traces\/([0-9a-f]{32})$/.exec(url.pathname)?.[1];
  if (request.method !== "GET" || traceId === undefined)
    throw new HttpError(404, "POST /v1/traces, POST /v1/metrics, GET /traces/<traceId>, GET /metrics, GET /exports");
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const wish = { spans: numberIn(url, "spans", maxSpans), services: servicesIn(url) };
  const answered = await store.settled(traceId, wish, numberIn(url, "wait", maxWaitMs), gone.signal);
  if (!answered) throw new HttpError(503, "too many callers wait for traces");
  send(response, 200, store.get(traceId));
}

async function readBody(request: IncomingMessage): Promise<string> {
  const type = (request.headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw new HttpError(
      415,
      `content type ${type || "(none)"} is not taken: export OTLP as http/json, not http/protobuf`,
    );
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    const part = Buffer.from(chunk);
    bytes += part.length;
    if (bytes > maxBodyBytes) throw new HttpError(413, `body is longer than ${maxBodyBytes} bytes`);
    chunks.push(part);
  }
  const body = Buffer.concat(chunks);
  const encoding = request.headers["content-encoding"] ?? "identity";
  if (encoding === "identity") return body.toString("utf8");
  if (encoding !== "gzip") throw new HttpError(415, `content encoding ${encoding} is not taken: use gzip or none`);
  try {
    return gunzipSync(body, { maxOutputLength: maxBodyBytes }).toString("utf8");
  } catch {
    throw new HttpError(400, `body is not gzip of at most ${maxBodyBytes} bytes`);
  }
}

function parsed<T>(parse: (body: string) => T, body: string): T {
  try {
    return parse(body);
  } catch (error) {
    if (error instanceof OtlpError) throw new HttpError(400, error.message);
    throw error;
  }
}

function numberIn(url: URL, key: string, max: number): number {
  const text = url.searchParams.get(key) ?? "0";
  if (!/^\d{1,9}$/.test(text)) throw new HttpError(400, `${key} is not a number`);
  return Math.min(Number(text), max);
}

function servicesIn(url: URL): string[] {
  const names = (url.searchParams.get("services") ?? "").split(",").filter((name) => name !== "");
  if (names.length > 64) throw new HttpError(400, "services has more than 64 names");
  return names;
}

function openFile(path: string): (lines: string) => Promise<void> {
  let bytes = 0;
  return async (lines) => {
    bytes += Buffer.byteLength(lines);
    if (bytes <= maxFileBytes) await appendFile(path, lines, { mode: 0o600 });
  };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed || response.headersSent) return;
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** `--listen <host>:<port>` and optionally `--file <path>`. */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { listen: { type: "string" }, file: { type: "string" } } });
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(values.listen ?? "127.0.0.1:4318") ?? [];
  if (host === undefined) throw new Error("--listen is not <host>:<port>");
  const file = values.file === undefined ? {} : { filePath: values.file };
  const receiver = await startTraceReceiver({ host, port: Number(port), ...file });
  process.stdout.write(`${JSON.stringify({ message: "listening", host, port: receiver.port })}\n`);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => void receiver.close().then(() => process.exit(0)));
  }
}

if (import.meta.main) await main();
