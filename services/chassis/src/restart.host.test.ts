import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import * as net from "node:net";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import * as grpc from "@grpc/grpc-js";
import { AuditService, QueryRecordsRequestSchema } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { createServiceClient } from "./client.ts";
import { defineErrors } from "./errors.ts";
import { startProcess } from "./process-fixture.ts";
import { clientFor, configFor, type Ground, makeGround, serve } from "./server-fixture.ts";
import { freePort } from "./testing-free-port.ts";

let ground: Ground;
before(() => {
  ground = makeGround();
});
after(() => ground.remove());

const fail = defineErrors("audit.lobsterd", { BUSY: Code.Unavailable });

test("an outside client's retry policy sees a failed call as retryable", async (t) => {
  let attempts = 0;
  const { tcpPort } = await serve(t, ground, {
    queryRecords: () => {
      attempts += 1;
      if (attempts < 3) throw fail("BUSY", "not now");
      return { records: [] };
    },
  });
  const client = grpcJsClient(t, tcpPort);
  await client.query();
  assert.equal(attempts, 3);
});

test("an outside client's retry policy bridges a restart", async (t) => {
  const config = configFor(ground, "bridge", {
    listen: {
      unixPath: join(ground.directory, "bridge", "rpc.sock"),
      tcp: { host: "127.0.0.1", port: await freePort() },
    },
  });
  const first = await serve(t, ground, {}, config);
  const client = grpcJsClient(t, first.tcpPort);
  await client.query();
  await first.server.close();
  const pending = client.query();
  await delay(300);
  await serve(t, ground, {}, config);
  await pending;
});

test("a killed server is UNAVAILABLE, and its successor takes over the socket it left", async (t) => {
  const unixPath = join(ground.directory, "killed", "rpc.sock");
  const first = (await startProcess(t, ground, unixPath)).child;
  assert.equal(statSync(unixPath).mode & 0o777, 0o660);
  const client = clientFor(ground, unixPath, { retry: false });
  await assert.rejects(client.getInclusionProof({ treeSize: 1n }), { code: Code.PermissionDenied });

  const inFlight = client.tailRecords({})[Symbol.asyncIterator]();
  await inFlight.next();
  await inFlight.next();
  const cut = codeOf(inFlight.next());
  first.kill("SIGKILL");
  await once(first, "exit");
  assert.equal(await cut, Code.Unavailable, "a call in flight");
  assert.ok(existsSync(unixPath), "the socket file stays behind");
  assert.equal(await codeOf(client.appendRecord({})), Code.Unavailable, "a refused connection");

  const missing = clientFor(ground, join(ground.directory, "killed", "other.sock"), { retry: false });
  assert.equal(await codeOf(missing.appendRecord({})), Code.Unavailable, "a missing socket");

  await startProcess(t, ground, unixPath);
  await client.queryRecords({});
});

test("an idempotent call is repeated until the server is there", async (t) => {
  const config = configFor(ground, "repeat");
  const call = clientFor(ground, config.listen.unixPath).queryRecords({});
  await delay(200);
  await serve(t, ground, {}, config);
  await call;
});

test("a second server does not take a socket that is served", async (t) => {
  const config = configFor(ground, "twice");
  await serve(t, ground, {}, config);
  await assert.rejects(serve(t, ground, {}, config), { code: "EADDRINUSE" });
  const path = join(ground.directory, "twice", "file");
  writeFileSync(path, "data");
  await assert.rejects(serve(t, ground, {}, configFor(ground, "x", { listen: { unixPath: path } })), /is no socket/);
  assert.equal(readFileSync(path, "utf8"), "data");
});

test("a peer with another name is not talked to", async (t) => {
  const { server } = await serve(t, ground);
  const tls = { ...ground.vm, platformCaPath: ground.ca.caPath, trustDomain: "test" };
  const client = createServiceClient(AuditService, { service: "secrets", unixPath: server.unixPath }, tls);
  await assert.rejects(client.appendRecord({}), /peer is not spiffe:\/\/test\/svc\/secrets/);
});

test("a server that accepts and stalls does not hold a call beyond its deadline", async (t) => {
  const unixPath = join(ground.directory, "stall.sock");
  const stalled = net.createServer(() => undefined).listen(unixPath);
  t.after(() => stalled.close());
  await once(stalled, "listening");
  const startMs = performance.now();
  assert.equal(await codeOf(clientFor(ground, unixPath).appendRecord({}, { timeoutMs: 300 })), Code.DeadlineExceeded);
  assert.ok(performance.now() - startMs < 1500);
});

test("a stop lets a running call finish and ends a stream and an idle connection within its bound", async (t) => {
  const running = Promise.withResolvers<void>();
  const config = configFor(ground, "drain", { shutdownGraceMs: 1500 });
  const { server, client, tcpPort } = await serve(
    t,
    ground,
    {
      queryRecords: async () => {
        running.resolve();
        await delay(200);
        return { records: [] };
      },
      async *tailRecords(_request, { signal }) {
        yield {};
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
      },
    },
    config,
  );
  const idle = net.connect(tcpPort, "127.0.0.1");
  t.after(() => idle.destroy());
  idle.on("error", () => undefined);
  const stream = client.tailRecords({})[Symbol.asyncIterator]();
  await stream.next();
  const call = client.queryRecords({});
  await running.promise;
  const startMs = performance.now();
  const closed = server.close();
  await call;
  assert.equal(await codeOf(stream.next()), Code.Unavailable);
  await closed;
  assert.ok(performance.now() - startMs < 2500, `the stop took ${performance.now() - startMs} ms`);
  assert.ok(!existsSync(config.listen.unixPath));
});

/** A client as an outside service writes it: generic gRPC, its own retry policy, nothing of this repository's. */
function grpcJsClient(t: TestContext, port: number): { query(): Promise<void> } {
  const method = AuditService.method.queryRecords;
  const path = `/${AuditService.typeName}/${method.name}`;
  const credentials = grpc.credentials.createSsl(
    readFileSync(ground.ca.caPath),
    readFileSync(ground.operator.keyPath),
    readFileSync(ground.operator.certificatePath),
  );
  const retryPolicy = {
    ...{ maxAttempts: 5, initialBackoff: "0.3s", maxBackoff: "1s", backoffMultiplier: 2 },
    retryableStatusCodes: ["UNAVAILABLE"],
  };
  const client = new grpc.Client(`127.0.0.1:${port}`, credentials, {
    "grpc.service_config": JSON.stringify({ methodConfig: [{ name: [{}], retryPolicy }] }),
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 300,
  });
  t.after(() => client.close());
  return {
    query: () =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          path,
          () => Buffer.from(toBinary(QueryRecordsRequestSchema, create(QueryRecordsRequestSchema))),
          (bytes: Buffer) => fromBinary(method.output, bytes),
          {},
          (error) => (error === null ? resolve() : reject(error)),
        );
      }),
  };
}

async function codeOf(call: Promise<unknown>): Promise<Code> {
  return await call.then(
    () => assert.fail("the call succeeded"),
    (error: unknown) => ConnectError.from(error).code,
  );
}
