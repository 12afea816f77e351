import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import * as https from "node:https";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { Health, HealthCheckResponse_ServingStatus as Status } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { connectPeer } from "./peer-connection.ts";
import { configFor, type Ground, makeGround, serve } from "./server-fixture.ts";

const run = promisify(execFile);
const buf = fileURLToPath(new URL("../../../node_modules/.bin/buf", import.meta.url));
let ground: Ground;
before(() => {
  ground = makeGround();
});
after(() => ground.remove());

test("gRPC, gRPC-Web and Connect share the port and the Unix socket", async (t) => {
  const { server, tcpPort } = await serve(t, ground);
  const tls = {
    ca: readFileSync(ground.ca.caPath),
    cert: readFileSync(ground.vm.certificatePath),
    key: readFileSync(ground.vm.keyPath),
  };
  const address = {
    ...{ target: { unixPath: server.unixPath }, expectedUri: "spiffe://test/svc/audit", caPath: ground.ca.caPath },
    ...ground.vm,
  };
  const ways = {
    tcp: { baseUrl: `https://127.0.0.1:${tcpPort}`, nodeOptions: tls },
    unix: { baseUrl: "https://localhost", nodeOptions: { createConnection: () => connectPeer(address) } },
  };
  for (const [name, way] of Object.entries(ways)) {
    const transports = [
      createGrpcTransport(way),
      createGrpcWebTransport({ ...way, httpVersion: "2" }),
      createConnectTransport({ ...way, httpVersion: "2" }),
    ];
    for (const [index, transport] of transports.entries()) {
      const { signedNote } = await createClient(AuditService, transport).getCheckpoint({});
      assert.equal(signedNote, "note", `${name}, transport ${index}`);
    }
  }
  const transport = createConnectTransport({ ...ways.tcp, httpVersion: "1.1" });
  assert.equal((await createClient(AuditService, transport).getCheckpoint({})).signedNote, "note");
});

test("a service's client makes unary calls by Connect, and streams by gRPC", async (t) => {
  const spoken: string[] = [];
  const { client } = await serve(t, ground, {
    getCheckpoint(_request, { protocolName }) {
      spoken.push(protocolName);
      return {};
    },
    async *tailRecords(_request, { protocolName }) {
      spoken.push(protocolName);
      yield {};
    },
  });
  await client.getCheckpoint({});
  await Array.fromAsync(client.tailRecords({}));
  assert.deepEqual(spoken, ["connect", "grpc"]);
});

test("plain JSON over HTTP/1.1, as a probe sends it", async (t) => {
  const { tcpPort } = await serve(t, ground);
  const send = async (
    method: string,
    path: string,
    body?: string,
  ): Promise<{ status: number | undefined; text: string }> =>
    await new Promise((resolve, reject) => {
      const request = https.request({
        ...{ host: "127.0.0.1", port: tcpPort, method, path, headers: { "content-type": "application/json" } },
        ca: readFileSync(ground.ca.caPath),
        cert: readFileSync(ground.operator.certificatePath),
        key: readFileSync(ground.operator.keyPath),
      });
      request.once("error", reject);
      request.once("response", (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => {
          text += chunk;
        });
        response.once("end", () => resolve({ status: response.statusCode, text }));
      });
      request.end(body);
    });
  const { text } = await send("POST", "/grpc.health.v1.Health/Check", "{}");
  assert.deepEqual(JSON.parse(text), { status: "SERVING" });
  const get = await send(
    "GET",
    "/lobsterd.audit.v1.AuditService/GetCheckpoint?connect=v1&encoding=json&message=%7B%7D",
  );
  assert.equal(get.status, 405, "a request does not travel in a URL");
});

test("an independent client lists and calls services by reflection, v1 and v1alpha", async (t) => {
  const { tcpPort } = await serve(t, ground);
  const base = `https://localhost:${tcpPort}`;
  for (const protocol of ["grpc-v1", "grpc-v1alpha"]) {
    const listed = await curl("--reflect-protocol", protocol, "--list-services", base);
    assert.deepEqual(listed.trim().split("\n").sort(), [
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
      "lobsterd.audit.v1.AuditService",
    ]);
    const methods = await curl("--reflect-protocol", protocol, "--list-methods", base);
    assert.match(methods, /lobsterd\.audit\.v1\.AuditService\/TailRecords/);
    const url = `${base}/lobsterd.audit.v1.AuditService/GetCheckpoint`;
    assert.deepEqual(JSON.parse(await curl("--reflect-protocol", protocol, "-d", "{}", url)), { signedNote: "note" });
  }
});

test("reflection can be turned off", async (t) => {
  const { tcpPort } = await serve(t, ground, {}, configFor(ground, "mute", { reflection: false }));
  await assert.rejects(curl("--list-services", `https://localhost:${tcpPort}`), /does not support|unimplemented/i);
});

test("health follows setServing and ends its watchers at the stop", async (t) => {
  const { server, tcpPort } = await serve(t, ground);
  const health = createClient(
    Health,
    createGrpcTransport({
      baseUrl: `https://127.0.0.1:${tcpPort}`,
      nodeOptions: {
        ca: readFileSync(ground.ca.caPath),
        cert: readFileSync(ground.operator.certificatePath),
        key: readFileSync(ground.operator.keyPath),
      },
    }),
  );
  const seen: Status[] = [];
  const watching = (async () => {
    for await (const { status } of health.watch({ service: AuditService.typeName })) {
      seen.push(status);
      if (seen.length === 1) server.setServing(false);
      if (seen.length === 2) server.setServing(true);
      if (seen.length === 3) void server.close();
    }
  })();
  await watching;
  assert.deepEqual(seen, [Status.SERVING, Status.NOT_SERVING, Status.SERVING, Status.NOT_SERVING]);
});

async function curl(...args: string[]): Promise<string> {
  const identity = ["--cacert", ground.ca.caPath, "--cert", ground.operator.certificatePath];
  const all = ["curl", "--protocol", "grpc", ...identity, "--key", ground.operator.keyPath, ...args];
  const { stdout } = await run(buf, all, { timeout: 20_000, maxBuffer: 4 * 1024 * 1024 });
  return stdout;
}
