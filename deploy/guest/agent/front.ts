import { Agent, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { CurrentIdentity } from "./current-identity.ts";
import { endToEndHeaders } from "./forwarded-headers.ts";
import { headerValues, type Refusal, refusalOf } from "./front-policy.ts";
import type { Identity } from "./identity.ts";
import { log } from "./log.ts";
import { peerUri } from "./peer.ts";
import { guestTlsOptions } from "./tls-options.ts";
import type { Traffic } from "./traffic.ts";

export type FrontOptions = {
  readonly current: CurrentIdentity;
  readonly workloadPort: number;
  /** Told of what is passed on, refusals left out. */
  readonly traffic?: Pick<Traffic, "pass"> | undefined;
  /** Connections at a time; one more is closed at once, which Caddy tells its client as 502. */
  readonly connectionLimit?: number | undefined;
};

/** Caddy lets 36 KiB through (32, and what Go adds for the request line) and puts some of its own to them. */
const maximumHeaderBytes = 40 * 1024;
/** Of a tenant, WebSockets and all (ADR 0023); about 90 KiB of memory each, the workload's end included. */
const maximumConnections = 1024;
/** How long a workload may take to begin its answer, and a tunnel or transfer may be silent. */
const silenceMs = 120_000;

function answer(response: ServerResponse, status: number, error: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = JSON.stringify({ error });
  // The rest of a refused request's body is not read, so the connection cannot be used again.
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    connection: "close",
  });
  response.end(body);
}

function answerSocket(socket: Duplex, status: number, error: string): void {
  const body = JSON.stringify({ error });
  const head = `HTTP/1.1 ${status} Refused\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`;
  socket.end(`${head}connection: close\r\n\r\n${body}`);
}

function check(request: IncomingMessage, identity: Identity): Refusal | undefined {
  const socket = request.socket as TLSSocket;
  const serverName = (socket as TLSSocket & { servername?: string | false }).servername ?? false;
  const hosts = headerValues(request.rawHeaders, "host");
  const facts = { caller: peerUri(socket), serverName, hosts, target: request.url ?? "" };
  return refusalOf(facts, identity.trustDomain, identity.hostNames);
}

/** Headers for the workload: end to end, and the body framed as it came, so both sides agree where it ends. */
function requestHeaders(request: IncomingMessage): string[] {
  const headers = endToEndHeaders(request.rawHeaders);
  if (request.headers["transfer-encoding"] !== undefined) headers.push("Transfer-Encoding", "chunked");
  return headers;
}

function forward(request: IncomingMessage, response: ServerResponse, port: number, agent: Agent): void {
  const upstream = httpRequest({
    host: "127.0.0.1",
    port,
    agent,
    method: request.method,
    path: request.url,
    headers: requestHeaders(request) as unknown as Record<string, string>,
    maxHeaderSize: maximumHeaderBytes,
    timeout: silenceMs,
  });
  upstream.on("timeout", () => upstream.destroy(new Error("workload is silent")));
  upstream.on("error", (error) => {
    log("workload did not answer", { error: error.message });
    answer(response, 502, "workload did not answer");
  });
  upstream.on("response", (reply) => {
    response.writeHead(reply.statusCode ?? 502, endToEndHeaders(reply.rawHeaders));
    // pipeline destroys both ends when either breaks; there is nobody left to tell.
    pipeline(reply, response, () => undefined);
  });
  response.on("close", () => upstream.destroy());
  pipeline(request, upstream, (error) => {
    if (error) upstream.destroy(error);
  });
}

/** Connects two byte streams until either ends or both are silent. */
function tunnel(client: Duplex, workload: Duplex & { setTimeout(ms: number): unknown }): void {
  workload.setTimeout(silenceMs);
  workload.on("timeout", () => workload.destroy());
  pipeline(client, workload, () => undefined);
  pipeline(workload, client, () => undefined);
}

function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, port: number): void {
  const headers = [...endToEndHeaders(request.rawHeaders), "Connection", "Upgrade", "Upgrade", "websocket"];
  const upstream = httpRequest({
    host: "127.0.0.1",
    port,
    agent: false,
    method: request.method,
    path: request.url,
    headers: headers as unknown as Record<string, string>,
    maxHeaderSize: maximumHeaderBytes,
    timeout: silenceMs,
  });
  upstream.on("timeout", () => upstream.destroy(new Error("workload is silent")));
  upstream.on("error", () => answerSocket(socket, 502, "workload did not answer"));
  upstream.on("response", (reply) => {
    reply.resume();
    answerSocket(socket, 502, "workload refused the upgrade");
  });
  upstream.on("upgrade", (reply, workloadSocket, workloadHead) => {
    const lines = [...pairs(endToEndHeaders(reply.rawHeaders)), "Connection: Upgrade", "Upgrade: websocket"];
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("\r\n")}\r\n\r\n`);
    socket.write(workloadHead);
    workloadSocket.write(head);
    tunnel(socket, workloadSocket as Duplex & { setTimeout(ms: number): unknown });
  });
  socket.on("error", () => upstream.destroy());
  upstream.end();
}

function pairs(flat: readonly string[]): string[] {
  return flat.flatMap((value, index) => (index % 2 === 1 ? [`${flat[index - 1]}: ${value}`] : []));
}

/** The gateway's TLS front: lets Caddy through to the workload on loopback. The server is not listening yet. */
export function createFront(options: FrontOptions): Server {
  const { current, workloadPort, traffic, connectionLimit = maximumConnections } = options;
  const agent = new Agent({
    keepAlive: true,
    maxSockets: connectionLimit,
    maxFreeSockets: 16,
    // Not the same as a request's: Node 24 sets a reused connection's time-out only where the two differ, and what it had while
    // it was idle is one second less than the workload keeps it, so an answer after 4 s would come too late.
    timeout: silenceMs + 1,
  });
  const server = createServer({
    ...guestTlsOptions(current.value),
    ALPNProtocols: ["http/1.1"],
    maxHeaderSize: maximumHeaderBytes,
    headersTimeout: 10_000,
    requestTimeout: 300_000,
    keepAliveTimeout: 65_000,
    connectionsCheckingInterval: 5_000,
  });
  server.maxConnections = connectionLimit;
  server.on("request", (request, response) => {
    const refusal = check(request, current.value);
    if (refusal === undefined) {
      traffic?.pass(response);
      forward(request, response, workloadPort, agent);
    } else answer(response, refusal.status, refusal.error);
  });
  server.on("upgrade", (request, socket, head) => {
    const refusal = check(request, current.value);
    if (refusal !== undefined) answerSocket(socket, refusal.status, refusal.error);
    else if (request.headers.upgrade?.toLowerCase() !== "websocket") answerSocket(socket, 400, "unknown upgrade");
    else {
      traffic?.pass(socket);
      upgrade(request, socket, head, workloadPort);
    }
  });
  server.on("tlsClientError", (error) => log("handshake refused", { error: error.message.slice(0, 200) }));
  current.onChange(({ identity, isNewGeneration }) => {
    server.setSecureContext(guestTlsOptions(identity));
    // Caddy verified the certificate of another generation on these; a renewal of this one cuts nobody's WebSocket.
    if (isNewGeneration) server.closeAllConnections();
  });
  return server;
}
