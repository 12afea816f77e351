/** SVC-01, REL-11: certificates are renewed under load without a failed call, and revoked ones end what they began. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import * as http2 from "node:http2";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import * as tls from "node:tls";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { createPeerTransport } from "./client.ts";
import { reasonOf } from "./errors.ts";
import { peerKey } from "./gate.ts";
import { waitFor } from "./lifecycle.ts";
import { clientFor, type Ground, makeGround, serve } from "./server-fixture.ts";
import type { TestLeaf } from "./testing-certificates.ts";

const rotations = 20;
const callers = 4;
const limits = { timeoutMs: 10_000, intervalMs: 20 };
let ground: Ground;
before(() => {
  ground = makeGround();
});
after(() => ground.remove());

const serialOf = (pem: Buffer) => new X509Certificate(pem).serialNumber;
const revocationsPath = () => join(ground.directory, "revocations.json");

function revoke(leaf: TestLeaf, uri: string): void {
  const times = { revokeTime: new Date().toISOString(), expireTime: new Date(Date.now() + 86_400_000).toISOString() };
  const draft = `${revocationsPath()}.draft`;
  writeFileSync(draft, JSON.stringify({ [serialOf(readFileSync(leaf.certificatePath))]: { uri, ...times } }));
  renameSync(draft, revocationsPath());
}

test(`${rotations} renewals of the server's and the callers' certificates fail no call`, async (t) => {
  const shown = new Set<string>();
  const { tcpPort, server } = await serve(t, ground, {
    queryRecords: (_, { values }) => {
      const peer = values.get(peerKey);
      if (peer.verified) shown.add(peer.serialNumber);
      return {};
    },
    async *tailRecords(_, { signal }) {
      while (!signal.aborted) {
        yield {};
        await delay(50);
      }
    },
  });
  // Without repetition, so that a call that fails is seen.
  const clients = Array.from({ length: callers }, () => clientFor(ground, server.unixPath, { retry: false }));
  const failures: unknown[] = [];
  const ending = new AbortController();
  let [calls, messages, isOver] = [0, 0, false];
  // However the test ends, the load does.
  t.after(() => {
    isOver = true;
    ending.abort();
  });
  const load = clients.map(async (client) => {
    while (!isOver) {
      await client.queryRecords({}).then(
        () => (calls += 1),
        (error: unknown) => failures.push(error),
      );
      await delay(1);
    }
  });
  const stream = (async () => {
    for await (const _ of clients[0]?.tailRecords({}, { signal: ending.signal }) ?? []) messages += 1;
  })().catch((error: unknown) => !ending.signal.aborted && failures.push(error));

  for (let round = 0; round < rotations; round += 1) {
    // OpenSSL writes the key before the certificate and each in pieces: worse than anything that replaces a file whole.
    ground.ca.issue("server", ["spiffe://test/svc/audit"]);
    ground.ca.issue("vm", ["spiffe://test/svc/vm"]);
    const [serverSerial, callerSerial] = [ground.server, ground.vm].map(({ certificatePath }) =>
      serialOf(readFileSync(certificatePath)),
    );
    const isServed = async () => ((await servedSerial(tcpPort)) === serverSerial ? true : undefined);
    await waitFor("the server's new certificate", isServed, limits);
    const isShown = async () => (shown.has(callerSerial ?? "") ? true : undefined);
    await waitFor("the callers' new certificate", isShown, limits);
  }
  isOver = true;
  await Promise.all(load);
  ending.abort();
  await stream;
  assert.deepEqual(failures, []);
  assert.ok(messages > 0);
  t.diagnostic(`${rotations} renewals, ${calls} calls and a stream of ${messages} messages, 0 failed`);
});

test("files that do not fit together, or are gone, leave in force what was read before", async (t) => {
  const { tcpPort, client, server } = await serve(t, ground);
  await client.queryRecords({});
  const before = await servedSerial(tcpPort);
  const kept = [ground.server.keyPath, ground.vm.keyPath].map((path) => [path, readFileSync(path)] as const);
  const other = readFileSync(ground.operator.keyPath);
  for (const [path] of kept) writeFileSync(path, other);
  await delay(2500);
  assert.equal(await servedSerial(tcpPort), before);
  await client.queryRecords({});
  for (const [path] of kept) rmSync(path);
  await delay(2500);
  assert.equal(await servedSerial(tcpPort), before);
  await client.queryRecords({});
  for (const [path, bytes] of kept) writeFileSync(path, bytes);
  await clientFor(ground, server.unixPath).queryRecords({});
});

test("a revoked certificate is refused within seconds, on open connections too, and its streams end; a new one is served", async (t) => {
  const { tcpPort, client, logs } = await serve(t, ground, {
    async *tailRecords(_, { signal }) {
      yield {};
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
  });
  const uri = "spiffe://test/client/op";
  const stolen = ground.ca.issue("stolen", [uri]);
  const streaming = clientOf(stolen, tcpPort);
  const unary = clientOf(stolen, tcpPort);
  const idle = http2.connect(`https://127.0.0.1:${tcpPort}`, { ca: readFileSync(ground.ca.caPath), ...pemOf(stolen) });
  idle.on("error", () => undefined);
  const isCut = new Promise((resolve) => idle.once("close", resolve));
  const session = new Promise<Buffer>((resolve) => idle.once("connect", () => idle.socket.once("session", resolve)));
  await unary.queryRecords({});
  const messages = streaming.tailRecords({})[Symbol.asyncIterator]();
  assert.equal((await messages.next()).done, false);
  const waiting = messages.next();
  const isEnded = assert.rejects(waiting);

  revoke(stolen, uri);
  await withLimit(isEnded);
  await withLimit(isCut);
  const refusals = [unary.queryRecords({}), clientOf(stolen, tcpPort).queryRecords({})];
  for (const refusal of refusals) assert.equal(await reasonOfFailure(refusal), "CERTIFICATE_REVOKED");
  assert.equal(await resumedReason(tcpPort, stolen, await session), "CERTIFICATE_REVOKED");
  assert.equal(logs.find(({ reason }) => reason === "CERTIFICATE_REVOKED")?.detail, "certificate is revoked");

  await clientOf(ground.ca.issue("again", [uri]), tcpPort).queryRecords({});
  await client.queryRecords({});
  // A list that is gone or broken takes nothing back.
  writeFileSync(revocationsPath(), "{");
  await delay(1500);
  assert.equal(await reasonOfFailure(clientOf(stolen, tcpPort).queryRecords({})), "CERTIFICATE_REVOKED");
  writeFileSync(revocationsPath(), "{}");
});

test("a server without a revocation list does not start", async (t) => {
  rmSync(revocationsPath());
  await assert.rejects(serve(t, ground), /ENOENT/);
  writeFileSync(revocationsPath(), "{}");
});

function pemOf({ certificatePath, keyPath }: TestLeaf) {
  return { cert: readFileSync(certificatePath), key: readFileSync(keyPath) };
}

function clientOf(leaf: TestLeaf, port: number) {
  const expectedUri = "spiffe://test/svc/audit";
  const address = { ...leaf, caPath: ground.ca.caPath, expectedUri, target: { host: "127.0.0.1", port } };
  const options = { timeoutMs: 5000, maxReplyBytes: 1024 * 1024, retry: false };
  return createClient(AuditService, createPeerTransport(address, options).transport);
}

/** Serial number of the certificate that a new connection is shown. */
async function servedSerial(port: number): Promise<string | undefined> {
  const socket = tls.connect({ host: "127.0.0.1", port, ca: readFileSync(ground.ca.caPath), ALPNProtocols: ["h2"] });
  try {
    await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
    return socket.getPeerX509Certificate()?.serialNumber;
  } finally {
    socket.destroy();
  }
}

/** Why a call is refused that takes up a TLS session again instead of showing a certificate. */
async function resumedReason(port: number, leaf: TestLeaf, session: Buffer): Promise<string | undefined> {
  const options = { ca: readFileSync(ground.ca.caPath), ...pemOf(leaf), session };
  const transport = http2.connect(`https://127.0.0.1:${port}`, options);
  transport.on("error", () => undefined);
  try {
    await new Promise((resolve) => transport.once("connect", resolve));
    assert.equal((transport.socket as tls.TLSSocket).isSessionReused(), true);
    const path = `/${AuditService.typeName}/QueryRecords`;
    const stream = transport.request({ ":method": "POST", ":path": path, "content-type": "application/grpc" });
    stream.end();
    stream.resume();
    const headers = await new Promise<http2.IncomingHttpHeaders>((resolve) => stream.once("response", resolve));
    assert.equal(headers["grpc-status"], String(Code.Unauthenticated));
    return Buffer.from(String(headers["grpc-status-details-bin"]), "base64")
      .toString()
      .match(/CERTIFICATE_[A-Z]+/)?.[0];
  } finally {
    transport.destroy();
  }
}

async function reasonOfFailure(call: Promise<unknown>): Promise<string | undefined> {
  const error = await call.then(
    () => assert.fail("the call succeeded"),
    (failure: unknown) => ConnectError.from(failure),
  );
  assert.equal(error.code, Code.Unauthenticated);
  return reasonOf(error);
}

async function withLimit(promise: Promise<unknown>): Promise<void> {
  const ended = promise.then(() => true);
  assert.equal(await Promise.race([ended, delay(5000, false, { ref: false })]), true, "nothing happened within 5 s");
}
