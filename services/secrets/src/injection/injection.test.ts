import assert from "node:assert/strict";
import { randomUUID, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createServer, type Server } from "node:tls";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { testCertificates } from "@lobsterd/chassis/testing-certificates.ts";
import { InjectSecretsResponseSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { guestUri } from "../identity/guest-name.ts";
import { type GuestFiles, guestAgent } from "../testing/guest-agent.ts";
import { acquireLease, inject, injectLeased, issuedLeaf, newGuest, putBound, reasonFrom } from "../testing/guests.ts";
import { type RunningService, runningService, trustDomain } from "../testing/running-service.ts";

let service: RunningService;
before(async () => {
  service = await runningService();
  await putBound(service, "demo", "api-key", "the value");
  await putBound(service, "demo", "db-password", "another");
  const operator = service.as("operator");
  await operator.putSecret({
    requestId: randomUUID(),
    tenant: "demo",
    name: "unbound",
    value: { value: Buffer.from("never sent") },
  });
  await putBound(service, "other", "api-key", "of another tenant");
});
after(async () => await service.close());

test("the right guest gets the bound secrets of its tenant and the token, once", async () => {
  const guest = newGuest("demo");
  const leaf = await issuedLeaf(service, guest);
  await using agent = disposable(await guestAgent(service, "127.0.1.1", leaf));
  const requestId = randomUUID();
  const answer = await inject(service, guest, "127.0.1.1", requestId);
  const names = answer.injected.map(({ name, version }) => `${name}@${version}`);
  assert.deepEqual(names, ["api-key@1", "db-password@1"]);
  const issued = await service.as("operator").issueGatewayToken({ requestId: randomUUID(), tenant: "demo" });
  const token = Buffer.from(issued.token?.value ?? []).toString();
  assert.deepEqual(agent.received, [
    [
      { name: "api-key", version: 1, value: "the value", target: "file" },
      { name: "db-password", version: 1, value: "another", target: "file" },
      { name: "gateway-token", version: 1, value: token, target: "file" },
    ],
  ]);
  // The same request again is the same answer and no second delivery; another request is refused.
  assert.deepEqual(await inject(service, guest, "127.0.1.1", requestId), answer);
  assert.equal(await reasonFrom(injectLeased(service, guest, "127.0.1.1")), "LEASE_USED");
  assert.equal(await reasonFrom(acquireLease(service, guest)), "LEASE_USED");
  assert.equal(await reasonFrom(issuedLeaf(service, guest)), "LEASE_USED");
  assert.equal(agent.received.length, 1);
});

test("who is not the guest gets nothing, and the lease stays", async () => {
  const guest = newGuest("demo");
  const right = await issuedLeaf(service, guest);
  const elsewhere = testCertificates(join(service.directory, "elsewhere"), "elsewhere");
  const wrong: Record<string, GuestFiles> = {
    "another tenant": await issuedLeaf(service, newGuest("other")),
    "another microVM": await issuedLeaf(service, newGuest("demo")),
    "another authority": elsewhere.issue("guest", [guestUri(trustDomain, guest)]),
    "self-signed": selfSigned(elsewhere.caPath),
    "the platform's authority": service.platform.issue("guest", [guestUri(trustDomain, guest)]),
    "a service": service.platform.issue("not-a-guest", [`spiffe://${trustDomain}/svc/vm`]),
  };
  for (const [who, leaf] of Object.entries(wrong)) {
    await using agent = disposable(await guestAgent(service, "127.0.1.2", leaf));
    assert.equal(await reasonFrom(inject(service, guest, "127.0.1.2")), "GUEST_IDENTITY_REFUSED", who);
    assert.deepEqual(agent.received, [], who);
  }
  await using agent = disposable(await guestAgent(service, "127.0.1.2", right));
  await inject(service, guest, "127.0.1.2");
  assert.equal(agent.received.length, 1);
});

test("the previous generation of the same microVM gets nothing", async () => {
  const first = newGuest("demo");
  const oldLeaf = await issuedLeaf(service, first);
  const second = { ...first, generation: 2 };
  await issuedLeaf(service, second);
  await using agent = disposable(await guestAgent(service, "127.0.1.3", oldLeaf));
  assert.equal(await reasonFrom(acquireLease(service, first)), "STALE_GENERATION");
  assert.equal(await reasonFrom(injectLeased(service, first, "127.0.1.3")), "STALE_GENERATION");
  assert.equal(await reasonFrom(issuedLeaf(service, first)), "STALE_GENERATION");
  assert.equal(await reasonFrom(inject(service, second, "127.0.1.3")), "GUEST_IDENTITY_REFUSED");
  assert.deepEqual(agent.received, []);
});

test("a guest that speaks TLS 1.2 at most gets nothing", async () => {
  const guest = newGuest("demo");
  const leaf = await issuedLeaf(service, guest);
  let bytes = 0;
  const server = createServer(
    {
      cert: readFileSync(leaf.certificatePath),
      key: readFileSync(leaf.keyPath),
      maxVersion: "TLSv1.2",
      ALPNProtocols: ["h2"],
    },
    (socket) => socket.on("data", (data) => (bytes += data.length)),
  );
  server.on("tlsClientError", () => undefined);
  await using _server = closing(await listening(server, "127.0.1.4"));
  assert.equal(await reasonFrom(inject(service, guest, "127.0.1.4")), "GUEST_IDENTITY_REFUSED");
  assert.equal(bytes, 0);
});

test("a lease is for its tenant, microVM and generation, and ends", async () => {
  const guest = newGuest("demo");
  const leaf = await issuedLeaf(service, guest);
  await using agent = disposable(await guestAgent(service, "127.0.1.5", leaf));
  const tried = (other: Partial<typeof guest>) =>
    reasonFrom(injectLeased(service, { ...guest, ...other }, "127.0.1.5"));
  assert.equal(await tried({}), "LEASE_MISSING", "none was acquired");
  for (const other of [{ tenant: "other" }, { vmId: newGuest("demo").vmId }, { generation: 2 }]) {
    assert.equal(await reasonFrom(acquireLease(service, { ...guest, ...other })), "IDENTITY_MISSING");
  }
  await acquireLease(service, guest);
  assert.equal(await tried({ tenant: "other" }), "LEASE_MISSING");
  assert.equal(await tried({ vmId: newGuest("demo").vmId }), "LEASE_MISSING");
  assert.equal(await tried({ generation: 2 }), "LEASE_MISSING");
  assert.equal(await reasonFrom(issuedLeaf(service, { ...guest, tenant: "other" })), "VM_OF_ANOTHER_TENANT");
  service.advance(61_000);
  assert.equal(await tried({}), "LEASE_EXPIRED");
  assert.equal(await reasonFrom(acquireLease(service, guest)), "LEASE_USED", "an expired lease is not renewed");
  assert.equal(await reasonFrom(issuedLeaf(service, guest)), "LEASE_USED", "nor by a new identity");
  service.advance(-61_000);
  assert.deepEqual(agent.received, []);
});

test("an address outside the guests' network is refused before anything is opened or dialled", async () => {
  const guest = newGuest("demo");
  await issuedLeaf(service, guest);
  for (const address of ["10.201.0.1", "192.0.2.1", "128.0.0.1", "126.255.255.255"]) {
    assert.equal(await reasonFrom(injectLeased(service, guest, address)), "ADDRESS_NOT_A_GUEST");
  }
  assert.equal(await reasonFrom(inject(service, guest, "localhost")), "INVALID_FIELD");
});

test("a guest that does not listen yet is waited for, one that never does is not", async () => {
  const guest = newGuest("demo");
  const leaf = await issuedLeaf(service, guest);
  await acquireLease(service, guest);
  const early = injectLeased(service, guest, "127.0.1.6");
  const early2 = reasonFrom(injectLeased(service, guest, "127.0.1.6"));
  await using agent = disposable(await guestAgent(service, "127.0.1.6", leaf));
  assert.equal((await early).injected.length, 2);
  assert.match(await early2, /^LEASE_(BUSY|USED)$/);
  assert.equal(agent.received.length, 1);
  const absent = newGuest("demo");
  await issuedLeaf(service, absent);
  assert.equal(await reasonFrom(inject(service, absent, "127.0.1.7")), "GUEST_UNREACHABLE");
});

test("parallel injections into one guest deliver once", async () => {
  const guest = newGuest("demo");
  await using agent = disposable(await guestAgent(service, "127.0.1.8", await issuedLeaf(service, guest)));
  const reasons = await Promise.all(Array.from({ length: 8 }, () => reasonFrom(inject(service, guest, "127.0.1.8"))));
  assert.equal(reasons.filter((reason) => reason === "OK").length, 1);
  assert.deepEqual(
    [...new Set(reasons.filter((reason) => reason !== "OK"))].filter((reason) => !/^LEASE_(BUSY|USED)$/.test(reason)),
    [],
  );
  assert.equal(agent.received.length, 1);
});

test("an agent that refuses keeps the lease open, and its words go nowhere", async () => {
  const guest = newGuest("demo");
  const leaf = await issuedLeaf(service, guest);
  {
    await using _agent = disposable(
      await guestAgent(service, "127.0.1.9", leaf, async () => {
        throw new ConnectError("words of the guest", Code.ResourceExhausted);
      }),
    );
    const error = await inject(service, guest, "127.0.1.9").then(
      () => undefined,
      (failure: unknown) => failure,
    );
    assert.equal(await reasonFrom(Promise.reject(error)), "GUEST_REFUSED");
    assert.equal(String(error).includes("words of the guest"), false);
  }
  await using _agent = disposable(await guestAgent(service, "127.0.1.9", leaf));
  assert.equal(await reasonFrom(inject(service, guest, "127.0.1.9")), "OK");
});

test("a microVM that is revoked while its secrets are under way ends the delivery", { timeout: 20_000 }, async () => {
  const guest = newGuest("demo");
  const arrived = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  await using _agent = disposable(
    await guestAgent(service, "127.0.1.10", await issuedLeaf(service, guest), async () => {
      arrived.resolve();
      await release.promise;
      return create(InjectSecretsResponseSchema);
    }),
  );
  const injected = reasonFrom(inject(service, guest, "127.0.1.10"));
  await arrived.promise;
  await service.as("vm").shredTenant({ requestId: randomUUID(), tenant: "demo", vmId: guest.vmId });
  assert.equal(await injected, "GUEST_UNREACHABLE");
  release.resolve();
  assert.equal(await reasonFrom(injectLeased(service, guest, "127.0.1.10")), "LEASE_MISSING");
  assert.equal((await service.as("viewer").listSecrets({ tenant: "demo" })).secrets.length, 3);
});

test("issued again before the injection, under the same request_id or another, a guest gets a fresh key", async () => {
  const guest = newGuest("demo");
  const requestId = randomUUID();
  const issue = async (id: string) => await service.as("vm").issueGuestIdentity({ requestId: id, ...guest });
  const [one, same, other] = [await issue(requestId), await issue(requestId), await issue(randomUUID())];
  const serials = [one, same, other].map(({ certificatePem }) => new X509Certificate(certificatePem).serialNumber);
  assert.equal(new Set(serials).size, 3);
  const reused = service.as("vm").issueGuestIdentity({ requestId, ...guest, generation: 2 });
  assert.equal(await reasonFrom(reused), "REQUEST_ID_REUSED");
});

test("a lease begins when it is acquired, however long the boot took", async () => {
  const guest = newGuest("demo");
  const leaf = await issuedLeaf(service, guest);
  await using agent = disposable(await guestAgent(service, "127.0.1.11", leaf));
  service.advance(3_000_000);
  const { expireTime } = await acquireLease(service, guest);
  assert.ok(Number(expireTime?.seconds) * 1000 > Date.now() + 3_000_000);
  assert.equal(await reasonFrom(injectLeased(service, guest, "127.0.1.11")), "OK");
  service.advance(-3_000_000);
  assert.equal(agent.received.length, 1);
});

test("more leases in a minute than an ordinary host asks for are logged, published and recorded", async () => {
  const hurried = await runningService({ leaseAlarmPerMinute: 2 });
  try {
    for (let index = 0; index < 4; index += 1) {
      const guest = newGuest("demo");
      await issuedLeaf(hurried, guest);
      await acquireLease(hurried, guest);
    }
    assert.equal(hurried.events.filter(({ name }) => name === "lease-alarm").length, 1);
    assert.match(hurried.logLines.join(""), /too many injection leases in a minute/);
    const recorded = await waitFor(
      "the alarm to be recorded",
      async () => hurried.audit.entries.find(({ action }) => action === "InjectionLeaseAlarm"),
      { timeoutMs: 5000, intervalMs: 20 },
    );
    assert.equal(recorded.reason, "LEASE_RATE");
  } finally {
    await hurried.close();
  }
});

function selfSigned(caPath: string): GuestFiles {
  return { certificatePath: caPath, keyPath: caPath.replace(/\.pem$/, ".key.pem") };
}

function disposable<T extends { close(): Promise<void> }>(agent: T): T & AsyncDisposable {
  return Object.assign(agent, { [Symbol.asyncDispose]: () => agent.close() });
}

async function listening(server: Server, address: string): Promise<Server> {
  await new Promise<void>((resolve) => server.listen(service.config.guestAgentPort, address, resolve));
  return server;
}

function closing(server: Server): AsyncDisposable {
  return { [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) };
}
