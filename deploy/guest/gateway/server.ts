import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { GuardedPath } from "./guarded-routes.ts";
import { sendJson } from "./send-json.ts";

/** A route beyond the gateway's own; returns false when the request is not for it. */
export type ExtraRoute = (request: IncomingMessage, response: ServerResponse) => boolean;

const maximumMessageBytes = 64 * 1024;
const maximumSockets = 64;

const page = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>lobsterd</title></head>
<body><h1>It runs</h1><p>This page comes from a gateway inside its own microVM.</p></body></html>
`;

function sendPage(response: ServerResponse): void {
  response.writeHead(200, {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'",
  });
  response.end(page);
}

/** What answers to the token's holder only. Its cryptography is loaded by the first one who asks, not at start. */
const guardedPaths: ReadonlySet<string> = new Set(["/whoami", "/places"] satisfies GuardedPath[]);

async function answerGuarded(path: GuardedPath, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { answer } = await import("./guarded-routes.ts");
  await answer(path, request, response);
}

function route(request: IncomingMessage, response: ServerResponse): void {
  const path = (request.url ?? "/").split("?", 1)[0];
  // No route of this gateway reads a body, and one left unread would stall the connection.
  request.resume();
  if (request.method !== "GET" && request.method !== "HEAD") sendJson(response, 405, { error: "method not allowed" });
  else if (path === "/") sendPage(response);
  else if (path === "/health") sendJson(response, 200, { ok: true });
  else if (path !== undefined && guardedPaths.has(path)) {
    answerGuarded(path as GuardedPath, request, response).catch((error: unknown) => {
      process.stderr.write(`${path}: ${error instanceof Error ? error.message : String(error)}\n`);
      sendJson(response, 500, { error: "internal error" });
    });
  } else sendJson(response, 404, { error: "not found" });
}

/** Echoes what it is sent, in messages of at most 64 KiB. The library is loaded by the first socket, not at start. */
async function echo(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
  const { WebSocketServer } = await import("ws");
  const sockets = new WebSocketServer({ noServer: true, maxPayload: maximumMessageBytes, perMessageDeflate: false });
  sockets.handleUpgrade(request, socket, head, (webSocket) => {
    webSocket.on("message", (data, isBinary) => webSocket.send(data, { binary: isBinary }));
    // The library closes the socket with the right code; there is nobody else to tell.
    webSocket.on("error", () => webSocket.terminate());
  });
}

/** The gateway as an HTTP server that is not listening yet. `extra` sees each request first. */
export function createGateway(extra: ExtraRoute = () => false): Server {
  const server = createServer({ maxHeaderSize: 16 * 1024, headersTimeout: 10_000, requestTimeout: 60_000 });
  let open = 0;
  server.on("request", (request, response) => {
    if (!extra(request, response)) route(request, response);
  });
  server.on("upgrade", (request, socket, head) => {
    if (request.url !== "/echo" || open >= maximumSockets) {
      socket.end("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    open++;
    socket.once("close", () => open--);
    echo(request, socket, head).catch(() => socket.destroy());
  });
  return server;
}
