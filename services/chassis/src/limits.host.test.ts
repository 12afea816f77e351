import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as http2 from "node:http2";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import { AuditService } from "@lobsterd/proto/lobsterd/audit/v1/audit_pb.ts";
import { reasonOf } from "./errors.ts";
import { configFor, type Ground, makeGround, serve } from "./server-fixture.ts";

const mib = 1024 * 1024;
let ground: Ground;
before(() => {
  ground = makeGround();
});
after(() => ground.remove());

test("a message of 1 MiB is read and one more byte is refused", async (t) => {
  const { tcpPort } = await serve(t, ground);
  // An unknown field of a length that makes the whole message exactly `size` bytes.
  const sized = (size: number) =>
    Buffer.concat([Buffer.from([0xfa, 0x7f, ...varint(size - 5)]), Buffer.alloc(size - 5)]);
  assert.equal(sized(mib).length, mib);
  assert.equal((await call(tcpPort, frame(sized(mib)), {})).status, "0");
  const refused = await call(tcpPort, frame(sized(mib + 1)), {});
  assert.equal(refused.status, String(Code.ResourceExhausted));
  assert.ok(refused.details, "a refusal before the handler carries ErrorInfo");
});

test("a compression bomb is cut at 1 MiB", async (t) => {
  const { tcpPort, logs } = await serve(t, ground);
  const bomb = gzipSync(Buffer.alloc(512 * mib), { level: 9 });
  assert.ok(bomb.length < mib, "the bomb itself is small enough to be read");
  const before = process.memoryUsage().rss;
  const { status } = await call(tcpPort, frame(bomb, 1), { "grpc-encoding": "gzip" });
  assert.equal(status, String(Code.ResourceExhausted));
  assert.ok(process.memoryUsage().rss - before < 100 * mib, "the bomb was not inflated");
  assert.ok(logs.some(({ message }) => message === "request was not readable"));
});

test("a call without a deadline gets the default, one with too long a deadline the maximum", async (t) => {
  const config = configFor(ground, "bounds", { defaultDeadlineMs: 200, maxDeadlineMs: 400 });
  let seen: number | undefined;
  const { client, tcpPort } = await serve(
    t,
    ground,
    {
      queryRecords: async (_request, context) => {
        seen = context.timeoutMs();
        // Ignores its signal, as a careless handler does.
        await delay(3000, undefined, { ref: false });
        return {};
      },
      getCheckpoint: async (_request, context) => {
        await delay(500);
        return { signedNote: String(context.timeoutMs()) };
      },
    },
    config,
    { GetCheckpoint: 900 },
  );
  const startMs = performance.now();
  const plain = await call(tcpPort, frame(Buffer.alloc(0)), {});
  assert.equal(plain.status, String(Code.DeadlineExceeded));
  assert.ok((seen ?? 0) <= 200 && performance.now() - startMs < 1000);

  const long = await call(tcpPort, frame(Buffer.alloc(0)), { "grpc-timeout": "1H" });
  assert.equal(long.status, String(Code.DeadlineExceeded));
  assert.ok((seen ?? 0) > 200 && (seen ?? 0) <= 400, `the handler saw ${seen} ms`);

  const own = await client.getCheckpoint({}, { timeoutMs: 60_000 });
  assert.ok(Number(own.signedNote) <= 400, "a method's own bound is longer than the maximum, and is its maximum");
});

test("a body that never comes is answered at the deadline", async (t) => {
  const { tcpPort } = await serve(t, ground, {}, configFor(ground, "slow", { defaultDeadlineMs: 200 }));
  const { status } = await call(tcpPort, undefined, {});
  assert.equal(status, String(Code.DeadlineExceeded));
});

test("a stream ends at its deadline, and its handler with it", async (t) => {
  let ended = false;
  const { client } = await serve(t, ground, {
    async *tailRecords(_request, { signal }) {
      try {
        for (let sequence = 0n; ; sequence += 1n) {
          yield { record: { sequence } };
          await delay(20, undefined, { signal });
        }
      } finally {
        ended = true;
      }
    },
  });
  let count = 0;
  const startMs = performance.now();
  const error = await (async () => {
    for await (const _ of client.tailRecords({}, { timeoutMs: 300 })) count += 1;
    return assert.fail("the stream ended by itself");
  })().catch((reason: unknown) => ConnectError.from(reason));
  assert.equal(error.code, Code.DeadlineExceeded);
  assert.ok(count > 2 && performance.now() - startMs < 1500);
  while (!ended && performance.now() - startMs < 3000) await delay(10);
  assert.ok(ended);
});

test("a stream without a deadline ends at the maximum", async (t) => {
  const { tcpPort } = await serve(
    t,
    ground,
    {
      async *tailRecords() {
        yield {};
        await new Promise(() => undefined);
      },
    },
    configFor(ground, "endless", { maxDeadlineMs: 300 }),
  );
  const { status } = await call(tcpPort, frame(Buffer.alloc(0)), {}, "TailRecords");
  assert.equal(status, String(Code.DeadlineExceeded));
});

test("an invalid request names its field", async (t) => {
  const { client } = await serve(t, ground);
  const error = await client.queryRecords({ tenant: "UPPER" }).then(
    () => assert.fail(),
    (reason: unknown) => ConnectError.from(reason),
  );
  assert.equal(error.code, Code.InvalidArgument);
  assert.equal(reasonOf(error), "INVALID_FIELD");
});

test("a message that cannot be read has its reason over Connect too", async (t) => {
  const { tcpPort, logs } = await serve(t, ground);
  for (const [body, code, reason] of [
    [Buffer.alloc(mib + 1), "resource_exhausted", "RESOURCE_EXHAUSTED"],
    [Buffer.from([0xff]), "internal", "INTERNAL"],
  ] as const) {
    const error = await callByConnect(tcpPort, body);
    assert.equal(error.code, code);
    assert.equal(error.details[0]?.debug.reason, reason);
    assert.ok(logs.some((line) => line.message === "request was not readable" && line.code === reason));
  }
});

/** What a unary call over Connect, with this body, fails with. */
async function callByConnect(
  port: number,
  body: Buffer,
): Promise<{ code: string; details: ReadonlyArray<{ debug: { reason: string } }> }> {
  const session = http2.connect(`https://127.0.0.1:${port}`, {
    ca: readFileSync(ground.ca.caPath),
    cert: readFileSync(ground.vm.certificatePath),
    key: readFileSync(ground.vm.keyPath),
  });
  try {
    const path = `/${AuditService.typeName}/QueryRecords`;
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/proto" });
    // What is too large is answered before it is all read.
    stream.on("error", () => undefined);
    stream.end(body);
    return JSON.parse(await text(stream));
  } finally {
    session.destroy();
  }
}

/** One raw gRPC call; without a body it is left open. */
async function call(
  port: number,
  body: Buffer | undefined,
  headers: http2.OutgoingHttpHeaders,
  method = "QueryRecords",
): Promise<{ status: string | undefined; details: boolean }> {
  const session = http2.connect(`https://127.0.0.1:${port}`, {
    ca: readFileSync(ground.ca.caPath),
    cert: readFileSync(ground.vm.certificatePath),
    key: readFileSync(ground.vm.keyPath),
  });
  try {
    const path = `/${AuditService.typeName}/${method}`;
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      ...headers,
    });
    stream.on("error", () => undefined);
    if (body !== undefined) stream.end(body);
    stream.resume();
    const signal = AbortSignal.timeout(10_000);
    return await new Promise((resolve, reject) => {
      const settle = (received: http2.IncomingHttpHeaders) => {
        const status = received["grpc-status"];
        if (status !== undefined) {
          resolve({ status: String(status), details: received["grpc-status-details-bin"] !== undefined });
        }
      };
      stream.on("response", settle);
      stream.on("trailers", settle);
      signal.addEventListener("abort", () => reject(new Error("no answer")));
    });
  } finally {
    session.destroy();
  }
}

function frame(message: Buffer, flags = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}
