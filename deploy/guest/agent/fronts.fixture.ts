/**
 * The real front of guests at several addresses, each before a workload of its own on loopback. Run inside a network namespace:
 * `node fronts.fixture.ts <plan.json>`; prints one line when all listen. See `@lobsterd/proxy/testing/guests.fixture.ts`.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { GuestPlan } from "@lobsterd/proxy/testing/guests.fixture.ts";
import { trustDomain } from "@lobsterd/proxy/testing/scene-paths.ts";
import { WebSocketServer } from "ws";
import { CurrentIdentity } from "./current-identity.ts";
import { createFront } from "./front.ts";

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: fronts.fixture.ts <plan.json>");
const plan = JSON.parse(readFileSync(path, "utf8")) as GuestPlan;

await Promise.all(plan.guests.map(startGuest));
process.stdout.write("listening\n");

async function startGuest(guest: GuestPlan["guests"][number]): Promise<void> {
  const workloadPort = await startWorkload(guest.name);
  const identity = {
    ...{ tenant: guest.name, vmId: "0".repeat(32), generation: 1, trustDomain },
    hostNames: new Set(guest.hostNames),
    ...{ certificatePem: guest.certificatePem, privateKeyPem: guest.keyPem, platformCaPem: plan.clientCaPem },
    ...{
      seed: Buffer.alloc(64),
      resolvers: [],
      expectInjection: false,
      traceparent: undefined,
      hostTimeMs: Date.now(),
    },
    tokenDigests: { vm: Buffer.alloc(32), secrets: Buffer.alloc(32) },
  };
  const front = createFront({
    current: new CurrentIdentity(identity),
    workloadPort,
    connectionLimit: guest.connectionLimit,
  });
  front.listen(guest.port, guest.address);
  await once(front, "listening");
}

async function startWorkload(name: string): Promise<number> {
  const workload = createServer({ maxHeaderSize: 65_536 }, (request, response) => answer(name, request, response));
  const sockets = new WebSocketServer({ server: workload });
  sockets.on("connection", (socket) => {
    socket.on("message", (data) => socket.send(`${name}:${data.toString()}`));
  });
  workload.listen(0, "127.0.0.1");
  await once(workload, "listening");
  return (workload.address() as AddressInfo).port;
}

function answer(name: string, request: IncomingMessage, response: ServerResponse): void {
  if (request.url?.includes("told-")) process.stdout.write(`${name} got ${request.url} as ${request.headers.host}\n`);
  request.resume().on("end", () => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ guest: name, path: request.url, host: request.headers.host }));
  });
}
