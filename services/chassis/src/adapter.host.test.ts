import assert from "node:assert/strict";
import { once } from "node:events";
import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError, createClient, createConnectRouter, type ServiceImpl } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { nodeListener } from "./adapter.ts";

/** Answers the start of a command with its end, whatever its caller may still have to send. */
const handlers: Partial<ServiceImpl<typeof TenantService>> = {
  async *execTenant(requests) {
    for await (const { message } of requests)
      if (message.case === "start") return yield { message: { case: "exitCode", value: 3 } };
  },
};
const readMaxBytes = 64 * 1024;
let server: http2.Http2Server;
let baseUrl: string;

before(async () => {
  const listen = nodeListener({
    handlers: createConnectRouter({ readMaxBytes }).service(TenantService, handlers).handlers,
    peerOf: () => ({ verified: false, reason: "CERTIFICATE_REQUIRED", detail: "" }),
    unknownPath: () => new ConnectError("no such method", Code.Unimplemented),
    onError: () => undefined,
  });
  server = http2.createServer(listen).listen(0, "127.0.0.1");
  await once(server, "listening");
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

after(() => server.close());

test("a stream that ends before its caller does has its status", { timeout: 10_000 }, async (t) => {
  const sessionManager = new Http2SessionManager(baseUrl);
  t.after(() => sessionManager.abort());
  const client = createClient(TenantService, createGrpcTransport({ baseUrl, sessionManager }));
  for (let call = 0; call < 20; call++) {
    const ended = Promise.withResolvers<void>();
    async function* requests() {
      yield { message: { case: "start" as const, value: {} } };
      await ended.promise;
    }
    const answers = await Array.fromAsync(client.execTenant(requests())).finally(ended.resolve);
    assert.deepEqual(answers[0]?.message, { case: "exitCode", value: 3 });
  }
});

test("a caller that does not end is stopped after its answer", { timeout: 10_000 }, async (t) => {
  const session = http2.connect(baseUrl);
  t.after(() => session.destroy());
  const stream = session.request({
    ":method": "POST",
    ":path": `/${TenantService.typeName}/Unknown`,
    "content-type": "application/grpc",
  });
  const [headers] = await once(stream, "response");
  assert.equal(headers["grpc-status"], String(Code.Unimplemented));
  stream.resume();
  // The stream is left open on this side.
  await once(stream, "close");
  assert.equal(stream.rstCode, http2.constants.NGHTTP2_NO_ERROR);
});

for (const method of ["getTenant", "execTenant"] as const) {
  test(`${method}: callers whose message was refused leave no connection behind`, { timeout: 20_000 }, async () => {
    const connections = () =>
      new Promise<number>((resolve, reject) =>
        server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
      );
    // Refused at its prefix. What follows is smaller than a window, so that all of it is on the server's side, unread.
    const message = Buffer.alloc(60_000);
    message.writeUInt32BE(readMaxBytes + 1, 1);
    for (let call = 0; call < 10; call++) {
      const session = http2.connect(baseUrl);
      const stream = session.request({
        ":method": "POST",
        ":path": `/${TenantService.typeName}/${TenantService.method[method].name}`,
        "content-type": "application/grpc",
      });
      stream.on("error", () => undefined); // the session goes while it is open
      stream.end(message);
      const [headers] = await once(stream, "response");
      assert.equal(headers["grpc-status"], String(Code.ResourceExhausted));
      session.destroy();
    }
    while ((await connections()) > 0) await delay(100);
  });
}
