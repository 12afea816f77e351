import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "node:tls";
import type { Leaf } from "../image/boot-authority.ts";
import { CurrentIdentity } from "./current-identity.ts";
import { createFront } from "./front.ts";
import { type TestGuest, testDomain, testGuest, testHostName } from "./testing.ts";

const name = testHostName;
/** Longer than the front keeps a connection to the workload that has nothing to do, which is a second less than the workload does. */
const slowMs = 1500;
const workloadKeepAliveMs = 2000;

let guest: TestGuest;
let caddy: Leaf;
let workload: Server;
let front: ReturnType<typeof createFront>;
/** What reached the workload, in order. */
const seen: { method: string; url: string; rawHeaders: string[]; body: string }[] = [];

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  return body;
}

before(async () => {
  guest = await testGuest();
  caddy = await guest.platform.issue({ uri: `spiffe://${testDomain}/svc/caddy` });
  workload = createServer({ maxHeaderSize: 64 * 1024 }, (request, response) => {
    void bodyOf(request).then(async (body) => {
      if (request.url === "/slow") await delay(slowMs);
      seen.push({ method: request.method ?? "", url: request.url ?? "", rawHeaders: request.rawHeaders, body });
      if (request.url !== "/kept") response.setHeader("connection", "x-hidden");
      response.writeHead(200, { "x-answer": "1", "x-hidden": "1" });
      response.end(`got ${body.length}`);
    });
  });
  workload.keepAliveTimeout = workloadKeepAliveMs;
  workload.listen(0, "127.0.0.1");
  await once(workload, "listening");
  front = createFront({
    current: new CurrentIdentity(guest.identity),
    workloadPort: (workload.address() as AddressInfo).port,
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
});
after(() => {
  front.close();
  front.closeAllConnections();
  workload.close();
  workload.closeAllConnections();
});

/** Sends bytes to the front as Caddy and returns everything that comes back until it closes. */
async function exchange(text: string): Promise<string> {
  const { certificatePem: cert, privateKeyPem: key } = caddy;
  const port = (front.address() as AddressInfo).port;
  const socket = connect({ host: "127.0.0.1", port, ca: guest.guests.certificatePem, cert, key, servername: name });
  let back = "";
  socket.on("data", (chunk: Buffer) => {
    back += chunk.toString();
  });
  socket.write(text);
  await once(socket, "close");
  return back;
}

const head = (line: string, ...headers: string[]) =>
  [line, `Host: ${name}`, "Connection: close", ...headers, "", ""].join("\r\n");

test("a request with a length reaches the workload whole, without hop-by-hop headers", async () => {
  seen.length = 0;
  const back = await exchange(
    `${head("POST /a?b HTTP/1.1", "Content-Length: 5", "X-Kept: 1", "TE: trailers", "Keep-Alive: 5")}hello`,
  );
  assert.match(back, /^HTTP\/1\.1 200 /);
  assert.match(back, /got 5$|got 5\r\n/);
  const [request] = seen;
  assert.deepEqual([request?.method, request?.url, request?.body], ["POST", "/a?b", "hello"]);
  const names = request?.rawHeaders.filter((_, index) => index % 2 === 0).map((header) => header.toLowerCase()) ?? [];
  assert.ok(names.includes("x-kept") && names.includes("host"));
  assert.ok(!names.includes("te") && !names.includes("keep-alive"));
});

test("a chunked request stays framed, also where the method needs no body", async () => {
  seen.length = 0;
  const back = await exchange(`${head("GET /chunked HTTP/1.1", "Transfer-Encoding: chunked")}5\r\nhello\r\n0\r\n\r\n`);
  assert.match(back, /got 5/);
  assert.deepEqual(
    seen.map((request) => [request.url, request.body]),
    [["/chunked", "hello"]],
  );
});

test("what the workload says of its own connection is not passed on", async () => {
  const back = await exchange(head("GET / HTTP/1.1"));
  assert.match(back, /x-answer: 1/i);
  assert.doesNotMatch(back, /x-hidden/i);
});

test("a request with two lengths is refused and never reaches the workload", async () => {
  seen.length = 0;
  const smuggled = `0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: ${name}\r\n\r\n`;
  const back = await exchange(
    `${head("POST /x HTTP/1.1", "Content-Length: 6", "Transfer-Encoding: chunked")}${smuggled}`,
  );
  assert.match(back, /^HTTP\/1\.1 400 /);
  assert.deepEqual(seen, []);
});

test("two Host headers and a foreign absolute target are refused", async () => {
  seen.length = 0;
  assert.match(await exchange(head("GET / HTTP/1.1", "Host: other.test")), /^HTTP\/1\.1 400 /);
  assert.match(await exchange(head("GET http://other.test/ HTTP/1.1")), /^HTTP\/1\.1 400 /);
  assert.deepEqual(seen, []);
});

test("headers pass up to what Caddy lets through, and are refused above", async () => {
  assert.match(await exchange(head("GET / HTTP/1.1", `X-Large: ${"x".repeat(36_000)}`)), /^HTTP\/1\.1 200 /);
  assert.match(await exchange(head("GET / HTTP/1.1", `X-Large: ${"x".repeat(42_000)}`)), /^HTTP\/1\.1 431 /);
});

test("only WebSocket upgrades are tried, and a workload may refuse them", async () => {
  const upgrade = (protocol: string) =>
    `GET / HTTP/1.1\r\nHost: ${name}\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`;
  assert.match(await exchange(upgrade("h2c")), /^HTTP\/1\.1 400 /);
  assert.match(await exchange(upgrade("websocket")), /^HTTP\/1\.1 502 /);
});

test("a slow answer over a reused connection to the workload is waited for", async () => {
  assert.match(await exchange(head("GET /kept HTTP/1.1")), /^HTTP\/1\.1 200 /);
  assert.match(await exchange(head("GET /slow HTTP/1.1")), /^HTTP\/1\.1 200 /);
});

test("a workload that is gone gives 502", async () => {
  const alone = createFront({ current: new CurrentIdentity(guest.identity), workloadPort: 1 });
  const old = front;
  alone.listen(0, "127.0.0.1");
  await once(alone, "listening");
  front = alone;
  try {
    assert.match(await exchange(head("GET / HTTP/1.1")), /^HTTP\/1\.1 502 /);
  } finally {
    front = old;
    alone.close();
    alone.closeAllConnections();
  }
});
