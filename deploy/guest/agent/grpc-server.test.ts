import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createAuthority, type Leaf } from "../image/boot-authority.ts";
import { CurrentIdentity } from "./current-identity.ts";
import { createGrpcServer, type GrpcServer, grpcLimits } from "./grpc-server.ts";
import {
  type CallerOptions,
  clientOf,
  countingHandlers,
  dial,
  digestsOf,
  newTokens,
  outcomeOf,
  portOf,
  serviceUri,
  type TestGuest,
  testGuest,
} from "./testing.ts";

const hourMs = 3_600_000;
const hence = (ms: number) => new Date(Date.now() + ms);
const counted = countingHandlers();
let guest: TestGuest;
let current: CurrentIdentity;
let grpc: GrpcServer;
let vm: Leaf;

async function listen(): Promise<void> {
  current = new CurrentIdentity(guest.identity);
  grpc = createGrpcServer(current, counted.handlers);
  grpc.server.listen(0, "127.0.0.1");
  await once(grpc.server, "listening");
}

before(async () => {
  guest = await testGuest();
  vm = await guest.platform.issue({ uri: serviceUri("vm") });
  await listen();
});
beforeEach(async () => {
  if (current.value !== guest.identity) {
    await grpc.drain(1_000);
    await listen();
  }
});
after(() => grpc.drain(1_000));

/** What a call of Health comes to, and how many handlers began. */
async function health(caller: CallerOptions): Promise<{ outcome: string; runs: number }> {
  const before = counted.runs();
  const { client, close } = clientOf(guest, portOf(grpc.server), caller);
  try {
    const outcome = await outcomeOf(client.health({}, { timeoutMs: 10_000 }));
    return { outcome, runs: counted.runs() - before };
  } finally {
    close();
  }
}

test("the host with its certificate and its token is answered", async () => {
  assert.deepEqual(await health({ leaf: vm, token: guest.tokens.vm }), { outcome: "ok", runs: 1 });
});

const refused: Readonly<Record<string, { outcome: string; caller: () => Promise<CallerOptions> | CallerOptions }>> = {
  "no certificate": { outcome: "dropped", caller: () => ({}) },
  "this guest's own certificate": { outcome: "dropped", caller: () => ({ leaf: guest.identity }) },
  "another tenant's certificate": {
    outcome: "dropped",
    caller: async () => ({ leaf: await guest.guests.issue({ uri: "spiffe://lobsterd.test/guest/other/x/1" }) }),
  },
  "an expired certificate": {
    outcome: "dropped",
    caller: async () => ({
      leaf: await guest.platform.issue({ uri: serviceUri("vm"), notBefore: hence(-hourMs), notAfter: hence(-60_000) }),
    }),
  },
  "a certificate of the future": {
    outcome: "CLOCK_BEHIND",
    caller: async () => ({
      leaf: await guest.platform.issue({
        uri: serviceUri("vm"),
        notBefore: hence(hourMs),
        notAfter: hence(2 * hourMs),
      }),
    }),
  },
  "a certificate of the future that the platform did not sign": {
    outcome: "dropped",
    caller: async () => ({
      leaf: await (await createAuthority("platform")).issue({
        ...{ uri: serviceUri("vm"), notBefore: hence(hourMs), notAfter: hence(2 * hourMs) },
      }),
    }),
  },
  "a self-signed certificate": {
    outcome: "dropped",
    caller: async () => ({ leaf: (await createAuthority("platform", serviceUri("vm"))).self }),
  },
  "TLS 1.2": { outcome: "dropped", caller: () => ({ leaf: vm, maxVersion: "TLSv1.2" }) },
  "the platform's certificate of `net`": {
    outcome: "dropped",
    caller: async () => ({ leaf: await guest.platform.issue({ uri: serviceUri("net") }) }),
  },
  "two names at once": {
    outcome: "dropped",
    caller: async () => ({ leaf: await guest.platform.issue({ uri: serviceUri("vm"), uris: [serviceUri("net")] }) }),
  },
};
for (const [what, { outcome, caller }] of Object.entries(refused)) {
  test(`${what} is refused before a handler begins, even with the token`, async () => {
    assert.deepEqual(await health({ ...(await caller()), token: guest.tokens.vm }), { outcome, runs: 0 });
  });
}

test("a caller that is refused in the handshake gets no byte of HTTP/2", async () => {
  for (const what of ["no certificate", "this guest's own certificate", "an expired certificate"]) {
    const socket = dial(guest, portOf(grpc.server), (await refused[what]?.caller()) ?? {});
    let bytes = 0;
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    socket.on("error", () => undefined);
    socket.on("secureConnect", () => socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    await once(socket, "close");
    assert.equal(bytes, 0, what);
  }
});

test("no token, another service's and another guest's are refused before a handler begins", async () => {
  const other = newTokens();
  for (const token of [undefined, "", guest.tokens.secrets, other.vm, `${guest.tokens.vm}x`]) {
    const caller = { leaf: vm, ...(token === undefined ? {} : { token }) };
    assert.deepEqual(await health(caller), { outcome: "TOKEN_REFUSED", runs: 0 });
  }
});

test("a certificate of the future may set the clock, with the token", async () => {
  const leaf = await guest.platform.issue({
    uri: serviceUri("vm"),
    notBefore: hence(hourMs),
    notAfter: hence(2 * hourMs),
  });
  for (const [token, expected] of [
    [guest.tokens.vm, { outcome: "ok", runs: 1 }],
    [newTokens().vm, { outcome: "TOKEN_REFUSED", runs: 0 }],
  ] as const) {
    const before = counted.runs();
    const { client, close } = clientOf(guest, portOf(grpc.server), { leaf, token });
    const outcome = await outcomeOf(client.setClock({}, { timeoutMs: 10_000 }));
    close();
    assert.deepEqual({ outcome, runs: counted.runs() - before }, expected);
  }
});

test("who dials from the guest's own address is not the host", async () => {
  const { client, close } = clientOf(guest, portOf(grpc.server), {
    ...{ leaf: vm, token: guest.tokens.vm, localAddress: "127.0.0.1" },
  });
  const before = counted.runs();
  assert.equal(await outcomeOf(client.health({}, { timeoutMs: 10_000 })), "dropped");
  assert.equal(counted.runs(), before);
  close();
});

test("a new generation refuses the token of the one before, and its connections end", async () => {
  const old = clientOf(guest, portOf(grpc.server), { leaf: vm, token: guest.tokens.vm });
  await old.client.health({});
  const tokens = newTokens();
  current.replace({ ...guest.identity, generation: 2, tokenDigests: digestsOf(tokens) });
  assert.deepEqual(await health({ leaf: vm, token: guest.tokens.vm }), { outcome: "TOKEN_REFUSED", runs: 0 });
  assert.deepEqual(await health({ leaf: vm, token: tokens.vm }), { outcome: "ok", runs: 1 });
  old.close();
});

/** A server whose Health answers once `answer` is called, and a call of `leaf` that is under way. */
async function callUnderWay(leaf: Leaf) {
  const [started, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const health = async () => {
    started.resolve();
    await go.promise;
    return {};
  };
  const busy = createGrpcServer(current, { ...counted.handlers, health }, { ...grpcLimits, oldGenerationMs: 50 });
  busy.server.listen(0, "127.0.0.1");
  await once(busy.server, "listening");
  const { client, close } = clientOf(guest, portOf(busy.server), { leaf, token: guest.tokens.vm });
  const outcome = outcomeOf(client.health({}));
  await started.promise;
  return {
    outcome,
    answer: go.resolve,
    async end() {
      close();
      await busy.drain(1_000);
    },
  };
}

test("a connection does not outlive the generation that it began with, busy or not, nor one that was renewed before", {
  timeout: 20_000,
}, async () => {
  const call = await callUnderWay(vm);
  current.replace({ ...guest.identity });
  current.replace({ ...guest.identity, generation: 2 });
  assert.notEqual(await call.outcome, "ok");
  await call.end();
});

test("what is under way goes on through a renewal of its generation, longer than another generation's connections do", {
  timeout: 20_000,
}, async () => {
  const call = await callUnderWay(vm);
  current.replace({ ...guest.identity });
  await delay(200);
  call.answer();
  assert.equal(await call.outcome, "ok");
  await call.end();
});

test("a renewal lets nothing go on beyond the certificate that it began under", { timeout: 20_000 }, async () => {
  const call = await callUnderWay(await guest.platform.issue({ uri: serviceUri("vm"), notAfter: hence(4_000) }));
  current.replace({ ...guest.identity });
  assert.notEqual(await call.outcome, "ok");
  await call.end();
});

test("the certificate that a guest shows is that of its newest identity", async () => {
  const leaf = await guest.guests.issue({ uri: "spiffe://lobsterd.test/guest/demo/x/2" });
  const shown = async () => {
    const socket = dial(guest, portOf(grpc.server), { leaf: vm });
    await once(socket, "secureConnect");
    const name = socket.getPeerX509Certificate()?.subjectAltName;
    socket.destroy();
    return name;
  };
  assert.match((await shown()) ?? "", /\/1(,|$)/);
  current.replace({ ...guest.identity, ...leaf });
  assert.match((await shown()) ?? "", /\/2(,|$)/);
});

test("of a hundred connections none resumes the session of an earlier one", async () => {
  const sessions: Buffer[] = [];
  for (let count = 0; count < 100; count += 1) {
    const last = sessions.at(-1);
    const socket = dial(guest, portOf(grpc.server), { leaf: vm, ...(last === undefined ? {} : { session: last }) });
    socket.on("session", (session: Buffer) => sessions.push(session));
    await once(socket, "secureConnect");
    assert.equal(socket.isSessionReused(), false);
    // What TLS would hand out for later comes with the first bytes of the protocol.
    await once(socket, "data");
    socket.destroy();
  }
  // OpenSSL hands out the name of a session that it has not kept, so each connection had one to offer.
  assert.ok(sessions.length >= 99);
});
