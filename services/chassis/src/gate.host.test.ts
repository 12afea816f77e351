import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as http2 from "node:http2";
import * as https from "node:https";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import * as tls from "node:tls";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Health } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "@lobsterd/proto/grpc/reflection/v1/reflection_pb.ts";
import { AuditService, QueryRecordsRequestSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { reasonOf } from "./errors.ts";
import { type Ground, makeGround, serve } from "./server-fixture.ts";
import { type TestLeaf, testCertificates } from "./testing-certificates.ts";

const query = `/${AuditService.typeName}/QueryRecords`;
const answerLimitMs = 3000;
let ground: Ground;
before(() => {
  ground = makeGround();
});
after(() => ground.remove());

test("a caller without a certificate is answered while it is still sending its body", async (t) => {
  let calls = 0;
  const { tcpPort, logs } = await serve(t, ground, {
    queryRecords: () => {
      calls += 1;
      return {};
    },
  });
  const session = http2.connect(`https://127.0.0.1:${tcpPort}`, { ca: readFileSync(ground.ca.caPath) });
  t.after(() => session.destroy());
  const stream = session.request({ ":method": "POST", ":path": query, "content-type": "application/grpc" });
  stream.on("error", () => undefined);
  stream.resume();
  let sent = 0;
  const pump = () => {
    while (!stream.writableEnded && !stream.destroyed && sent < 64 * 1024 * 1024) {
      sent += 16 * 1024;
      if (!stream.write(Buffer.alloc(16 * 1024))) return;
    }
  };
  stream.on("drain", pump);
  pump();
  const [headers, flags] = await withLimit(
    new Promise<[http2.IncomingHttpHeaders, number]>((resolve) =>
      stream.once("response", (received, flag) => resolve([received, flag])),
    ),
  );
  assert.equal(headers["grpc-status"], String(Code.Unauthenticated));
  assert.ok(flags & http2.constants.NGHTTP2_FLAG_END_STREAM, "the refusal is one HEADERS frame that ends the stream");
  // Closed by the server: the body is not read to an end that never comes.
  await withLimit(new Promise<void>((resolve) => (stream.closed ? resolve() : stream.once("close", () => resolve()))));
  assert.ok(sent < 2 * 1024 * 1024, `the server took ${sent} bytes of a refused body`);
  assert.equal(calls, 0);
  const line = logs.find(({ message }) => message === "call refused");
  assert.equal(line?.reason, "CERTIFICATE_REQUIRED");
});

test("over HTTP/1.1 too, and the connection is closed", async (t) => {
  const { tcpPort } = await serve(t, ground);
  const request = https.request({
    ...{ host: "127.0.0.1", port: tcpPort, method: "POST", path: query, ca: readFileSync(ground.ca.caPath) },
    headers: { "content-type": "application/proto", "transfer-encoding": "chunked" },
  });
  request.on("error", () => undefined);
  const closed = new Promise<void>((resolve) => request.once("close", () => resolve()));
  request.write(Buffer.alloc(1024));
  const status = await withLimit(
    new Promise<number | undefined>((resolve) =>
      request.once("response", (response) => {
        response.resume();
        resolve(response.statusCode);
      }),
    ),
  );
  assert.equal(status, 401);
  await withLimit(closed);
});

test("a caller without a verified identity or a role is refused for every method", async (t) => {
  const { tcpPort } = await serve(t, ground);
  const other = testCertificates(`${ground.directory}/guest`, "guest-ca");
  const cases: Array<[string, TestLeaf | undefined, Code, string]> = [
    ["no certificate", undefined, Code.Unauthenticated, "CERTIFICATE_REQUIRED"],
    ["another authority", other.issue("g", ["spiffe://test/svc/vm"]), Code.Unauthenticated, "CERTIFICATE_INVALID"],
    [
      "expired",
      ground.ca.issue("old", ["spiffe://test/svc/vm"], { days: -1 }),
      Code.Unauthenticated,
      "CERTIFICATE_INVALID",
    ],
    ["no URI", ground.ca.issue("none", []), Code.Unauthenticated, "CERTIFICATE_INVALID"],
    [
      "two URIs",
      ground.ca.issue("two", ["spiffe://test/svc/vm", "spiffe://test/svc/net"]),
      Code.Unauthenticated,
      "CERTIFICATE_INVALID",
    ],
    ["no role", ground.ca.issue("anna", ["spiffe://test/client/anna"]), Code.PermissionDenied, "NOT_ALLOWED"],
    ["other domain", ground.ca.issue("far", ["spiffe://other/svc/vm"]), Code.PermissionDenied, "NOT_ALLOWED"],
    ["a guest", ground.ca.issue("guest", ["spiffe://test/guest/demo/1/1"]), Code.PermissionDenied, "NOT_ALLOWED"],
  ];
  for (const [name, leaf, code, reason] of cases) {
    const transport = transportFor(tcpPort, leaf);
    const calls: Array<[string, () => Promise<unknown>]> = [
      ["QueryRecords", () => createClient(AuditService, transport).queryRecords({})],
      ["health", () => createClient(Health, transport).check({})],
      ["reflection", () => firstOf(createClient(ServerReflection, transport).serverReflectionInfo(oneQuestion()))],
    ];
    for (const [method, call] of calls) {
      const error = await failureOf(call());
      assert.equal(error.code, code, `${name}, ${method}: ${error.message}`);
      assert.equal(reasonOf(error), reason, `${name}, ${method}`);
    }
    const unknown = await rawGrpc(tcpPort, leaf, "/lobsterd.audit.v1.AuditService/DeleteRecords");
    assert.equal(unknown["grpc-status"], String(code), `${name}, unknown method`);
  }
});

test("each method is for the callers of its row", async (t) => {
  const { tcpPort } = await serve(t, ground, { appendRecord: () => ({ sequence: 1n }) });
  const vm = createClient(AuditService, transportFor(tcpPort, ground.vm));
  const operator = createClient(AuditService, transportFor(tcpPort, ground.operator));
  await operator.queryRecords({});
  for (const call of [operator.appendRecord({}), operator.getConsistencyProof({}), vm.getConsistencyProof({})]) {
    const error = await failureOf(call);
    assert.equal(error.code, Code.PermissionDenied);
    assert.equal(reasonOf(error), "NOT_ALLOWED");
  }
  assert.equal((await failureOf(vm.appendRecord({}))).code, Code.InvalidArgument, "past the gate");
  const unknown = await rawGrpc(tcpPort, ground.vm, "/lobsterd.audit.v1.AuditService/DeleteRecords");
  assert.equal(unknown["grpc-status"], String(Code.Unimplemented));
});

test("a method that does not exist is refused over Connect as over gRPC, after its caller is known", async (t) => {
  const { tcpPort } = await serve(t, ground);
  for (const [leaf, code, reason] of [
    [ground.vm, "unimplemented", "METHOD_UNKNOWN"],
    [undefined, "unauthenticated", "CERTIFICATE_REQUIRED"],
  ] as const) {
    const session = http2.connect(`https://127.0.0.1:${tcpPort}`, {
      ca: readFileSync(ground.ca.caPath),
      ...pemOf(leaf),
    });
    t.after(() => session.destroy());
    const path = "/lobsterd.audit.v1.AuditService/DeleteRecords";
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/proto" });
    stream.end();
    const answer = JSON.parse(await text(stream));
    assert.deepEqual([answer.code, answer.details[0].debug.reason], [code, reason]);
  }
});

test("TLS below 1.3 is refused", async (t) => {
  const { tcpPort } = await serve(t, ground);
  const socket = tls.connect({
    host: "127.0.0.1",
    port: tcpPort,
    maxVersion: "TLSv1.2",
    ca: readFileSync(ground.ca.caPath),
  });
  const error = await withLimit(new Promise<Error>((resolve) => socket.once("error", resolve)));
  assert.match(error.message, /protocol version|handshake failure/);
});

test("headers beyond 16 KiB are refused", async (t) => {
  const { tcpPort } = await serve(t, ground);
  const client = createClient(AuditService, transportFor(tcpPort, ground.vm));
  await client.queryRecords({}, { headers: { "x-fill": "a".repeat(8 * 1024) } });
  const error = await failureOf(client.queryRecords({}, { headers: { "x-fill": "a".repeat(17 * 1024) } }));
  assert.notEqual(error.code, Code.DeadlineExceeded);
});

function transportFor(port: number, leaf: TestLeaf | undefined) {
  return createGrpcTransport({
    baseUrl: `https://127.0.0.1:${port}`,
    defaultTimeoutMs: answerLimitMs,
    nodeOptions: { ca: readFileSync(ground.ca.caPath), ...pemOf(leaf) },
  });
}

async function rawGrpc(port: number, leaf: TestLeaf | undefined, path: string): Promise<http2.IncomingHttpHeaders> {
  const session = http2.connect(`https://127.0.0.1:${port}`, { ca: readFileSync(ground.ca.caPath), ...pemOf(leaf) });
  try {
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc" });
    stream.end(envelope(QueryRecordsRequestSchema, {}));
    stream.resume();
    return await withLimit(new Promise((resolve) => stream.once("response", resolve)));
  } finally {
    session.destroy();
  }
}

function pemOf(leaf: TestLeaf | undefined) {
  return leaf === undefined ? {} : { cert: readFileSync(leaf.certificatePath), key: readFileSync(leaf.keyPath) };
}

function envelope<Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc>): Buffer {
  const body = toBinary(schema, create(schema, init));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

async function* oneQuestion() {
  yield { messageRequest: { case: "listServices" as const, value: "" } };
}

async function firstOf<T>(items: AsyncIterable<T>): Promise<T | undefined> {
  for await (const item of items) return item;
  return undefined;
}

async function failureOf(call: Promise<unknown>): Promise<ConnectError> {
  return await call.then(
    () => assert.fail("the call succeeded"),
    (error: unknown) => ConnectError.from(error),
  );
}

async function withLimit<T>(promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`nothing happened within ${answerLimitMs} ms`)), answerLimitMs);
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
