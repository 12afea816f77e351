/** SVC-01, SVC-02: what the authority of `secrets` signs is a viewer or an owner that its list names, and never anything else, whoever holds its key. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import * as http2 from "node:http2";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ConnectError, createClient } from "@connectrpc/connect";
import { Health } from "@lobsterd/proto/grpc/health/v1/health_pb.ts";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { createPeerTransport } from "./client.ts";
import type { IssuedClient } from "./client-list.ts";
import { reasonOf } from "./errors.ts";
import { waitFor } from "./lifecycle.ts";
import { configFor, type Ground, makeGround, type ServedAudit, serve } from "./server-fixture.ts";
import { type TestAuthority, type TestLeaf, testCertificates } from "./testing-certificates.ts";

const limits = { timeoutMs: 5000, intervalMs: 50 };
let ground: Ground;
let clientsCa: TestAuthority;
before(() => {
  ground = makeGround();
  clientsCa = testCertificates(join(ground.directory, "clients"), "clients-ca");
});
after(() => ground.remove());

const serialOf = ({ certificatePath }: TestLeaf) => new X509Certificate(readFileSync(certificatePath)).serialNumber;
const expireTime = new Date(Date.now() + 86_400_000).toISOString();
const row = (leaf: TestLeaf, path: string, role: IssuedClient["role"]) =>
  [serialOf(leaf), { uri: `spiffe://test/${path}`, role, expireTime }] as const;

/** A server that knows the clients' authority, with a list of its own. */
async function served(
  t: TestContext,
  list: unknown,
): Promise<ServedAudit & { write(list: unknown): void; path: string }> {
  const directory = join(ground.directory, t.name.replaceAll(/\W+/g, "-").slice(0, 24));
  mkdirSync(directory, { recursive: true });
  const path = join(directory, "clients.json");
  const write = (value: unknown) => {
    writeFileSync(`${path}.draft`, JSON.stringify(value));
    renameSync(`${path}.draft`, path);
  };
  if (list !== undefined) write(list);
  const config = configFor(ground, directory.split("/").at(-1) ?? "", {
    clients: { caPath: clientsCa.caPath, listPath: path },
  });
  const handlers = {
    async *tailRecords(_: unknown, { signal }: { signal: AbortSignal }) {
      yield {};
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
  };
  return { ...(await serve(t, ground, handlers, config)), write, path };
}

function clientsOf(leaf: TestLeaf, port: number) {
  const address = { ...leaf, caPath: ground.ca.caPath, expectedUri: "spiffe://test/svc/audit" };
  const options = { timeoutMs: 5000, maxReplyBytes: 1024 * 1024, retry: false };
  const { transport } = createPeerTransport({ ...address, target: { host: "127.0.0.1", port } }, options);
  return { health: createClient(Health, transport), audit: createClient(AuditService, transport) };
}

/** Reason of the refusal of a method that every caller with an identity may call; `undefined` if it was let in. */
async function refusal(leaf: TestLeaf, port: number): Promise<string | undefined> {
  return await clientsOf(leaf, port)
    .health.check({})
    .then(
      () => undefined,
      (error: unknown) => reasonOf(ConnectError.from(error)) ?? String(error),
    );
}

test("a listed viewer or owner is let in as that and no more; one that is not listed is refused", async (t) => {
  const [anna, vera, lost] = [
    clientsCa.issue("anna", ["spiffe://test/client/anna"]),
    clientsCa.issue("vera", ["spiffe://test/client/vera"]),
    clientsCa.issue("lost", ["spiffe://test/client/anna"]),
  ];
  const list = Object.fromEntries([row(anna, "client/anna", "owner"), row(vera, "client/vera", "viewer")]);
  const { tcpPort, client } = await served(t, list);
  for (const leaf of [anna, vera]) {
    assert.equal(await refusal(leaf, tcpPort), undefined);
    const error = await clientsOf(leaf, tcpPort).audit.queryRecords({}).catch(ConnectError.from);
    assert.ok(error instanceof ConnectError && reasonOf(error) === "NOT_ALLOWED", "operators' method");
  }
  assert.equal(await refusal(lost, tcpPort), "CERTIFICATE_REVOKED");
  await client.queryRecords({});
});

test("whoever holds the key of the clients' authority, and its list, is no service, no operator and nobody of the platform's", async (t) => {
  const names = ["svc/audit", "svc/vm", "svc/host", "client/op", "guest/demo/1/1", "client/a/b"];
  const leaves = names.map(
    (name, index) => [name, clientsCa.issue(`forged-${index}`, [`spiffe://test/${name}`])] as const,
  );
  const two = clientsCa.issue("two", ["spiffe://test/client/anna", "spiffe://test/svc/vm"]);
  // OpenSSL takes its chain: the authority of these tests, unlike the real one, allows another below it.
  const below = clientsCa.below("middle").issue("below", ["spiffe://test/client/anna"]);
  const list = Object.fromEntries([
    ...leaves.map(([name, leaf]) => row(leaf, name, "owner")),
    row(two, "client/anna", "owner"),
    row(below, "client/anna", "owner"),
  ]);
  const { tcpPort, client } = await served(t, list);
  for (const [name, leaf] of leaves) assert.equal(await refusal(leaf, tcpPort), "NOT_ALLOWED", name);
  assert.equal(await refusal(two, tcpPort), "CERTIFICATE_INVALID");
  assert.equal(await refusal(below, tcpPort), "CERTIFICATE_INVALID", "an authority below it");
  const expired = clientsCa.issue("expired", ["spiffe://test/client/anna"], { days: -1 });
  assert.equal(await refusal(expired, tcpPort), "CERTIFICATE_INVALID");
  await client.queryRecords({});
});

test("a list that calls somebody an operator counts for nothing", async (t) => {
  const eve = clientsCa.issue("eve", ["spiffe://test/client/eve"]);
  const [serial, entry] = row(eve, "client/eve", "owner");
  const { tcpPort, logs } = await served(t, { [serial]: { ...entry, role: "operator" } });
  assert.equal(await refusal(eve, tcpPort), "CERTIFICATE_REVOKED");
  assert.ok(logs.some(({ message }) => String(message).startsWith("client list file is not usable")));
});

test("the list revokes nothing of the platform's, and the platform's list nothing of it", async (t) => {
  const anna = clientsCa.issue("anna", ["spiffe://test/client/anna"]);
  const operatorsSerial = serialOf(ground.operator);
  const list = Object.fromEntries([row(anna, "client/anna", "owner")]);
  const { tcpPort, write } = await served(t, list);
  // Serial numbers of the one in the list of the other, as an authority that was taken over would write them.
  write({ ...list, [operatorsSerial]: { uri: "spiffe://test/client/nobody", role: "viewer", expireTime } });
  await delay(1500);
  assert.equal(await refusal(ground.operator, tcpPort), undefined);
  assert.equal(await refusal(ground.vm, tcpPort), undefined);
  assert.equal(await refusal(anna, tcpPort), undefined);
});

test("without a list the server serves all others, and it counts when it comes", async (t) => {
  const anna = clientsCa.issue("anna", ["spiffe://test/client/anna"]);
  const { tcpPort, client, write, path } = await served(t, undefined);
  await client.queryRecords({});
  assert.equal(await refusal(anna, tcpPort), "CERTIFICATE_REVOKED");
  const elsewhere = join(ground.directory, "elsewhere.json");
  writeFileSync(elsewhere, JSON.stringify(Object.fromEntries([row(anna, "client/anna", "owner")])));
  // What its writer may put there must neither be read for ever nor stop the reader.
  const hostile = [
    () => execFileSync("mkfifo", [path]),
    () => symlinkSync("/dev/zero", path),
    () => symlinkSync(elsewhere, path),
    () => writeFileSync(path, Buffer.alloc(1024 * 1024 + 1, " ")),
    () => writeFileSync(path, "{"),
  ];
  for (const put of hostile) {
    rmSync(path, { force: true });
    put();
    await delay(1100);
    await client.queryRecords({});
    assert.equal(await refusal(anna, tcpPort), "CERTIFICATE_REVOKED");
  }
  rmSync(path);
  write(Object.fromEntries([row(anna, "client/anna", "owner")]));
  await waitFor("the list", async () => ((await refusal(anna, tcpPort)) === undefined ? true : undefined), limits);
  rmSync(path);
  await delay(1500);
  assert.equal(await refusal(anna, tcpPort), undefined, "what was read last stays");
});

test("who is taken off the list is refused within seconds, on open connections too", async (t) => {
  const anna = clientsCa.issue("anna", ["spiffe://test/client/anna"]);
  const bert = clientsCa.issue("bert", ["spiffe://test/client/bert"]);
  const list = Object.fromEntries([row(anna, "client/anna", "viewer"), row(bert, "client/bert", "viewer")]);
  const { tcpPort, write } = await served(t, list);
  const idle = http2.connect(`https://127.0.0.1:${tcpPort}`, {
    ...{
      ca: readFileSync(ground.ca.caPath),
      cert: readFileSync(anna.certificatePath),
      key: readFileSync(anna.keyPath),
    },
  });
  idle.on("error", () => undefined);
  const isCut = new Promise<true>((resolve) => idle.once("close", () => resolve(true)));
  const watch = clientsOf(anna, tcpPort).health.watch({})[Symbol.asyncIterator]();
  await watch.next();
  const isEnded = watch.next().then(
    () => false,
    () => true,
  );
  write(Object.fromEntries([row(bert, "client/bert", "viewer")]));
  for (const end of [isCut, isEnded]) assert.equal(await Promise.race([end, delay(5000, false, { ref: false })]), true);
  assert.equal(await refusal(anna, tcpPort), "CERTIFICATE_REVOKED");
  assert.equal(await refusal(bert, tcpPort), undefined);
});

test("a server that was not told of the authority refuses what it signed", async (t) => {
  const anna = clientsCa.issue("anna", ["spiffe://test/client/anna"]);
  const { tcpPort } = await serve(t, ground);
  assert.equal(await refusal(anna, tcpPort), "CERTIFICATE_INVALID");
});
