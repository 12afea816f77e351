import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect as connectTcp, createServer, type Socket } from "node:net";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Leaf } from "../image/boot-authority.ts";
import type { Start, Usage } from "./agent-process.fixture.ts";
import { connectionStart, framed, healthOf, healthPath, malformedHttp2 } from "./hostile-bytes.ts";
import {
  clientOf,
  dial,
  guestAddress,
  hostAddress,
  outcomeOf,
  portOf,
  serviceUri,
  type TestGuest,
  testGuest,
} from "./testing.ts";

const mebibyte = 1024 * 1024;
/** The most that the agent may grow under any of these attacks. */
const maximumGrowthBytes = 32 * mebibyte;
/** The longest that a connection may stay whose caller has gone. The agent's own idle limit is 10 s. */
const lingerMs = 5_000;

let guest: TestGuest;
let vm: Leaf;
let agent: ChildProcess;
let port = 0;
/** Rejects with how the agent ended and what it said last. */
let ended: Promise<never>;

async function ask<T>(message: unknown): Promise<T> {
  const answer = once(agent, "message");
  agent.send(message as object, () => undefined); // that it has ended is known below
  return ((await Promise.race([answer, ended])) as [T])[0];
}

const usage = () => ask<Usage>("usage");

async function goodCall(): Promise<string> {
  const { client, close } = clientOf(guest, port, { leaf: vm, token: guest.tokens.vm });
  const outcome = await outcomeOf(client.health({}, { timeoutMs: 20_000 }));
  close();
  return outcome;
}

/** How the image's PID 1 runs Node: without a bound its young generation alone would grow by more than the attacks may cost. */
async function agentFlags(): Promise<string[]> {
  const init = await readFile(new URL("../image/init.sh", import.meta.url), "utf8");
  const flags = /\/usr\/bin\/node (--.+) \/opt\/agent\/agent\.js$/m.exec(init)?.[1];
  assert.ok(flags !== undefined);
  return flags.split(" ");
}

before(async () => {
  guest = await testGuest();
  vm = await guest.platform.issue({ uri: serviceUri("vm") });
  agent = fork(new URL("./agent-process.fixture.ts", import.meta.url), {
    execArgv: await agentFlags(),
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let lastWords = "";
  agent.stderr?.setEncoding("utf8").on("data", (text: string) => {
    lastWords = (lastWords + text).slice(-4_096);
  });
  ended = once(agent, "close").then(([code, signal]) =>
    assert.fail(`the agent ended with ${signal ?? code}: ${lastWords}`),
  );
  ended.catch(() => undefined); // seen by whoever asks next
  const { hostNames: _names, tokenDigests, seed: _seed, ...identity } = guest.identity;
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
  const start: Start = {
    identity: { ...identity, digests: { vm: hex(tokenDigests.vm), secrets: hex(tokenDigests.secrets) } },
    limits: { callMs: 2_000, answeredMs: 50 },
  };
  port = await ask<number>(start);
  // What a process takes once, whoever calls: code, heaps and the buffers of its first connections.
  for (let count = 0; count < 200; count += 1) assert.equal(await goodCall(), "ok");
});
after(() => agent.kill("SIGKILL"));

/** Runs `attack` while good calls go on; each must be answered, the agent must stay within its bound, and no connection may be left. */
async function withstand(t: TestContext, attack: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const beforeBytes = (await usage()).residentBytes;
  const stop = new AbortController();
  let largestBytes = beforeBytes;
  const running = attack(stop.signal).finally(() => stop.abort());
  const outcomes: string[] = [];
  running.catch(() => undefined); // awaited below
  while (!stop.signal.aborted || outcomes.length < 5) {
    outcomes.push(await goodCall());
    largestBytes = Math.max(largestBytes, (await usage()).residentBytes);
  }
  await running;
  assert.deepEqual(
    outcomes.filter((outcome) => outcome !== "ok"),
    [],
    "good calls meanwhile",
  );
  const grown = largestBytes - beforeBytes;
  t.diagnostic(`grew by ${(grown / mebibyte).toFixed(1)} MiB during ${outcomes.length} good calls`);
  assert.ok(grown < maximumGrowthBytes, `grew by ${(grown / mebibyte).toFixed(1)} MiB`);
  const endMs = Date.now() + lingerMs;
  while ((await usage()).connections > 0) {
    assert.ok(Date.now() < endMs, "connections are left whose callers have gone");
    await delay(100);
  }
}

function rawConnection(): Socket {
  const socket = connectTcp({ host: guestAddress, localAddress: hostAddress, port });
  socket.on("error", () => undefined); // being cut is what this is about
  return socket;
}

/** The first bytes of a real client, which then says no more. */
async function recordedHello(): Promise<Buffer> {
  const listener = createServer().listen(0, guestAddress);
  await once(listener, "listening");
  const client = dial(guest, portOf(listener), { leaf: vm });
  client.on("error", () => undefined);
  const [socket] = (await once(listener, "connection")) as [Socket];
  const [hello] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  listener.close();
  return hello;
}

test("a thousand sockets that never finish a handshake keep nobody out", { timeout: 60_000 }, async (t) => {
  /** The beginning of a ClientHello whose rest never comes. */
  const hello = Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
  const wholeHello = await recordedHello();
  let opened = 0;
  await withstand(t, async (signal) => {
    const sockets = new Set<Socket>();
    const open = (kind: number) => {
      const socket = rawConnection();
      opened += 1;
      sockets.add(socket);
      if (kind === 1) socket.once("connect", () => socket.write(hello));
      if (kind === 2) socket.once("connect", () => socket.write(wholeHello));
      // Whoever is cut comes back, as an attacker does.
      socket.once("close", () => {
        sockets.delete(socket);
        if (!signal.aborted) setTimeout(() => signal.aborted || open(kind), 1_000);
      });
    };
    for (let count = 0; count < 1_000; count += 1) open(count % 10 === 0 ? 2 : count % 2);
    await delay(8_000);
    for (const socket of sockets) socket.removeAllListeners("close").destroy();
  });
  assert.ok(opened > 1_000, "they were cut and came back");
});

/** One call with these headers and body bytes; what came of it. */
async function rawCall(
  session: ClientHttp2Session,
  body: Buffer,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ grpcStatus: string; bytes: number }> {
  const stream = session.request({
    ":method": "POST",
    ":path": healthPath,
    "content-type": "application/grpc",
    te: "trailers",
    authorization: `Bearer ${guest.tokens.vm}`,
    ...headers,
  });
  const seen = { grpcStatus: "", bytes: 0 };
  const note = (answer: Readonly<Record<string, unknown>>) => {
    if (answer["grpc-status"] !== undefined) seen.grpcStatus = String(answer["grpc-status"]);
  };
  stream.on("response", note);
  stream.on("trailers", note);
  stream.on("data", (chunk: Buffer) => {
    seen.bytes += chunk.length;
  });
  stream.on("error", () => undefined); // a reset is an answer too
  stream.end(body);
  await new Promise((resolve) => stream.once("close", resolve));
  return seen;
}

async function withSession<T>(use: (session: ClientHttp2Session) => Promise<T>): Promise<T> {
  const session = connectHttp2("https://demo.guest.internal", {
    createConnection: () => dial(guest, port, { leaf: vm }),
  });
  session.on("error", () => undefined);
  try {
    return await use(session);
  } finally {
    session.destroy();
  }
}

const resourceExhausted = "8";
const invalidArgument = "3";
const unimplemented = "12";
/** What the protocol's library makes of bytes that are no message. */
const internal = "13";

test("a message is counted in bytes, before it is decoded", { timeout: 60_000 }, async (t) => {
  // 4 bytes in UTF-8 and 2 units in UTF-16.
  const wide = Buffer.from("\u{1F99E}".repeat(mebibyte / 4));
  await withstand(t, async () => {
    for (let round = 0; round < 20; round += 1) {
      await withSession(async (session) => {
        const message = healthOf(wide.subarray(4));
        assert.ok(message.length <= mebibyte);
        assert.equal((await rawCall(session, framed(message))).grpcStatus, invalidArgument, "the largest is decoded");
        const larger = healthOf(wide);
        assert.ok(larger.length > mebibyte && larger.toString("utf8").length < mebibyte);
        assert.equal((await rawCall(session, framed(larger))).grpcStatus, resourceExhausted);
        assert.equal((await rawCall(session, framed(Buffer.alloc(mebibyte + 1)))).grpcStatus, resourceExhausted);
        const promised = framed(Buffer.alloc(10), 0xffff_ffff);
        assert.equal((await rawCall(session, promised)).grpcStatus, resourceExhausted, "at its prefix");
      });
    }
  });
});

test("deep nesting, JSON and unknown fields are refused", { timeout: 60_000 }, async (t) => {
  // Field 1000 as a group in a group, half a million times.
  const groups = Buffer.alloc(mebibyte - 16, Buffer.from([0xc3, 0x3e]));
  const json = Buffer.from(`${"[".repeat(mebibyte - 16)}`);
  await withstand(t, async () => {
    for (let round = 0; round < 20; round += 1) {
      await withSession(async (session) => {
        assert.equal((await rawCall(session, framed(groups))).grpcStatus, internal);
        const asJson = await rawCall(session, framed(json), { "content-type": "application/grpc+json" });
        assert.equal(asJson.grpcStatus, unimplemented);
        const unknownField = Buffer.from([0xc0, 0x3e, 1]);
        assert.equal((await rawCall(session, framed(unknownField))).grpcStatus, invalidArgument);
      });
    }
  });
});

test("an authority that is no host name is refused", { timeout: 60_000 }, async (t) => {
  await withstand(t, async () => {
    await withSession(async (session) => {
      for (const authority of ["[", "a:b", "demo.guest.internal:70000"])
        assert.equal(
          (await rawCall(session, framed(Buffer.alloc(0)), { ":authority": authority })).grpcStatus,
          invalidArgument,
        );
    });
  });
});

test("headers beyond 8 KiB are not answered", { timeout: 60_000 }, async (t) => {
  await withstand(t, async () => {
    await withSession(async (session) => {
      const small = await rawCall(session, framed(Buffer.alloc(0)), { "x-padding": "p".repeat(6_000) });
      assert.equal(small.grpcStatus, "0");
    });
    await withSession(async (session) => {
      const large = await rawCall(session, framed(Buffer.alloc(0)), { "x-padding": "p".repeat(8_192) });
      assert.equal(large.grpcStatus, resourceExhausted);
    });
  });
});

for (const [what, bytes] of Object.entries(malformedHttp2)) {
  test(`malformed HTTP/2 costs little: ${what}`, { timeout: 60_000 }, async (t) => {
    await withstand(t, async () => {
      for (let round = 0; round < 10; round += 1) {
        const socket = dial(guest, port, { leaf: vm });
        socket.on("error", () => undefined);
        socket.resume();
        await once(socket, "secureConnect");
        socket.write(Buffer.concat([connectionStart, bytes()]));
        // Whether the agent ends it or the attacker gives up, the next one follows.
        await Promise.race([new Promise((resolve) => socket.once("close", resolve)), delay(300)]);
        socket.destroy();
      }
    });
  });
}

test("a call whose body never ends is cut", { timeout: 60_000 }, async (t) => {
  await withstand(t, async () => {
    await withSession(async (session) => {
      const stream = session.request({
        ...{ ":method": "POST", ":path": healthPath, "content-type": "application/grpc" },
        authorization: `Bearer ${guest.tokens.vm}`,
      });
      stream.on("error", () => undefined);
      stream.write(framed(Buffer.alloc(1), 1_000));
      await once(stream, "close");
    });
  });
});
