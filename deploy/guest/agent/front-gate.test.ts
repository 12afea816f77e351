import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { test } from "node:test";
import { FrontGate } from "./front-gate.ts";

const address = "127.0.0.1";

/** A server on a port that was free a moment ago, so that the gate can take it up again. */
async function gated(listener: (request: IncomingMessage, response: ServerResponse) => void) {
  const probe = createServer().listen(0, address);
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const server = createServer(listener);
  return { server, port, gate: new FrontGate(server, port, address) };
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ host: address, port });
  await once(socket, "connect");
  // A cut connection may be told as a reset.
  socket.on("error", () => undefined);
  return socket;
}

const isRefused = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect({ host: address, port });
    socket.once("error", () => resolve(true));
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
  });

const close = (server: Server) => new Promise<void>((resolve) => server.close(() => resolve()));

test("the port is closed until there is a workload, while it is held, and answers again when it is released", async () => {
  const { server, port, gate } = await gated((_request, response) => response.end("yes"));
  const ask = async () => (await fetch(`http://${address}:${port}/`)).text();
  await gate.release();
  assert.ok(await isRefused(port));
  await gate.ready();
  assert.equal(await ask(), "yes");
  await gate.hold(1000);
  await gate.hold(1000);
  assert.ok(await isRefused(port));
  await gate.ready();
  assert.ok(await isRefused(port), "healthy again is no reason to answer");
  await gate.release();
  await gate.release();
  assert.equal(await ask(), "yes");
  await gate.hold(0);
  await close(server);
});

test("a request under way ends, and what is still there after the grace is cut, a tunnel too", async () => {
  const reached = Promise.withResolvers<ServerResponse>();
  const { server, port, gate } = await gated((_request, response) => reached.resolve(response));
  server.on("upgrade", (_request, socket) => void socket.write("HTTP/1.1 101 Switching Protocols\r\n\r\n"));
  await gate.ready();
  const asking = fetch(`http://${address}:${port}/`, { headers: { connection: "close" } }).then((answer) =>
    answer.text(),
  );
  const response = await reached.promise;
  const holding = gate.hold(30_000);
  response.end("done");
  await holding;
  assert.equal(await asking, "done");
  await gate.release();
  const [silent, tunnel] = [await open(port), await open(port)];
  tunnel.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
  await once(tunnel, "data");
  const cut = [silent, tunnel].map((socket) => once(socket.resume(), "close"));
  await gate.hold(0);
  await Promise.all(cut);
  await close(server);
});
