/**
 * Stands in for guests: TLS 1.3 servers on port 9000 of several addresses, each with its own certificate, that demand a client
 * certificate of the platform. Run inside a network namespace: `node guests.fixture.ts <plan.json>`; prints one line when
 * all listen.
 */

import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { WebSocketServer } from "ws";

export type GuestPlan = {
  readonly clientCaPem: string;
  readonly guests: readonly {
    readonly name: string;
    readonly address: string;
    readonly port: number;
    readonly hostNames: readonly string[];
    readonly connectionLimit?: number | undefined;
    readonly certificatePem: string;
    readonly keyPem: string;
  }[];
};

const told = "told-";

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: guests.fixture.ts <plan.json>");
const plan = JSON.parse(readFileSync(path, "utf8")) as GuestPlan;

await Promise.all(plan.guests.map((guest) => startGuest(guest)));
process.stdout.write("listening\n");

async function startGuest(guest: GuestPlan["guests"][number]): Promise<void> {
  const server = createServer(
    {
      cert: guest.certificatePem,
      key: guest.keyPem,
      ca: plan.clientCaPem,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: "TLSv1.3",
      maxHeaderSize: 65_536,
    },
    (request, response) => answer(guest.name, request, response),
  );
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    socket.on("message", (data) => socket.send(`${guest.name}:${data.toString()}`));
  });
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(guest.port, guest.address, resolve);
  });
}

function answer(name: string, request: IncomingMessage, response: ServerResponse): void {
  const socket: Socket = request.socket;
  const path = request.url ?? "/";
  // What must never arrive is told to the parent.
  if (path.includes(told)) process.stdout.write(`${name} got ${path} as ${request.headers.host}\n`);
  if (path.startsWith("/stream")) return void stream(Number(path.split("/")[2] ?? "1"), response);
  let bodyBytes = 0;
  request.on("data", (chunk: Buffer) => {
    bodyBytes += chunk.length;
  });
  request.on("end", () => {
    response.setHeader("content-type", "application/json");
    response.setHeader("server", "guest-server");
    if (path.startsWith("/answer-headers/")) response.setHeader("x-large", "x".repeat(Number(path.split("/")[2])));
    response.end(
      JSON.stringify({
        guest: name,
        path,
        host: request.headers.host,
        sni: socket instanceof TLSSocket ? socket.servername : undefined,
        client: socket instanceof TLSSocket ? socket.getPeerCertificate().subject.CN : undefined,
        connection: `${socket.remoteAddress}:${socket.remotePort}`,
        method: request.method,
        headers: request.headers,
        bodyBytes,
      }),
    );
  });
}

/** One event per 100 ms for `seconds`. */
function stream(seconds: number, response: ServerResponse): void {
  response.setHeader("content-type", "text/event-stream");
  let left = seconds * 10;
  const timer = setInterval(() => {
    response.write(`data: ${left}\n\n`);
    left -= 1;
    if (left > 0) return;
    clearInterval(timer);
    response.end();
  }, 100);
  response.on("close", () => clearInterval(timer));
}
