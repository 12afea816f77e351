import assert from "node:assert/strict";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { createFirecrackerApi } from "./api-client.ts";
import { openHttpConnection } from "./http-connection.ts";

/** A VMM that answers every request with what `answer` gives; the chunks are its own. */
function vmmThatAnswers(answer: (request: string) => Iterable<string | Buffer>) {
  const requests: string[] = [];
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      requests.push(chunk.toString());
      for (const part of answer(chunk.toString())) {
        if (stream.destroyed) break;
        stream.push(typeof part === "string" ? Buffer.from(part, "latin1") : part);
      }
      done();
    },
  });
  const api = createFirecrackerApi(openHttpConnection(stream), { callMs: 2_000, snapshotMs: 2_000 });
  return { api, stream, requests };
}

const json = (status: number, body: string, more = "") =>
  `HTTP/1.1 ${status} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n${more}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
const noContent = "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n";
const version = json(200, '{"firecracker_version":"1.16.1"}');

test("answers are read as Firecracker writes them, whole or a byte at a time", async () => {
  for (const chunks of [[version], [...version]]) {
    const { api, requests } = vmmThatAnswers(() => chunks);
    assert.equal(await api.getVersion(), "1.16.1");
    assert.equal(await api.getVersion(), "1.16.1");
    assert.equal(requests[0], "GET /version HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n");
  }
  const { api, requests } = vmmThatAnswers(() => [noContent]);
  await api.pause();
  assert.match(requests[0] ?? "", /^PATCH \/vm HTTP\/1\.1\r\n.*Content-Length: 18\r\n\r\n\{"state":"Paused"\}$/s);
});

test("calls wait for one another and each gets its own answer", async () => {
  const { api } = vmmThatAnswers((request) => [request.startsWith("GET /version") ? version : noContent]);
  assert.deepEqual(await Promise.all([api.pause(), api.getVersion(), api.resume()]), [undefined, "1.16.1", undefined]);
});

test("a connection that ended before it was handed over fails its first call at once", async () => {
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  stream.destroy();
  await new Promise((resolve) => stream.once("close", resolve));
  const api = createFirecrackerApi(openHttpConnection(stream), { callMs: 60_000, snapshotMs: 60_000 });
  const late = new Promise((resolve) => setTimeout(resolve, 10_000, "late").unref());
  await assert.rejects(Promise.race([api.getVersion(), late]), { reason: "UNAVAILABLE" });
});

test("a refusal says what the VMM said, made printable", async () => {
  const { api } = vmmThatAnswers(() => [json(400, JSON.stringify({ fault_message: "no\n\u001b[31m drive" }))]);
  await assert.rejects(api.pause(), {
    reason: "VMM_FAILED",
    message: "the VMM refused PATCH /vm with status 400: no\\x0a\\x1b[31m drive",
  });
  assert.equal(
    await api.pause().catch((error: { reason: string }) => error.reason),
    "VMM_FAILED",
    "the connection is kept",
  );
});

const deep = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;
const malformed: readonly (readonly [string, string])[] = [
  ["is no HTTP", "hello\r\n\r\n"],
  ["is HTTP/1.0", version.replace("1.1", "1.0")],
  ["has status 99", version.replace("200", "099")],
  ["is only on its way", "HTTP/1.1 100 Continue\r\n\r\n"],
  ["redirects", json(302, "{}")],
  ["has another good status", json(201, '{"firecracker_version":"1.16.1"}')],
  ["has a NUL in a header", version.replace("keep", "ke\0ep")],
  ["has a NUL in its body", json(200, '{"firecracker_version":"1.16.1"}\0')],
  ["has a bare newline in a header", version.replace("API\r\n", "API\n")],
  ["folds a header", version.replace("Connection:", " Connection:")],
  ["has a length with a sign", version.replace("Length: ", "Length: +")],
  ["has a length of words", version.replace("Length: ", "Length: x")],
  ["has two lengths", json(200, '{"firecracker_version":"1.16.1"}', "Content-Length: 3\r\n")],
  ["is chunked", json(200, "0\r\n\r\n", "Transfer-Encoding: chunked\r\n")],
  ["is compressed", json(200, "x", "Content-Encoding: gzip\r\n")],
  ["has a gigabyte", `HTTP/1.1 200 \r\nContent-Length: ${2 ** 30}\r\n\r\n`],
  ["has 33 headers", json(200, "{}", "A: b\r\n".repeat(33))],
  ["has 8 KiB of headers", json(200, "{}", `A: ${"b".repeat(8192)}\r\n`)],
  ["is not JSON", json(200, "{")],
  ["is not UTF-8", json(200, "{}").replace("{}", "\xff\xfe")],
  ["is nested too deep", json(200, deep(1_000))],
  ["is another type", json(200, "[]")],
  ["has another field", json(200, '{"firecracker_version":"1.16.1","more":1}')],
  ["has no field", json(200, "{}")],
];

test("whatever is wrong with an answer is INVALID_ANSWER", async () => {
  for (const [name, answer] of malformed) {
    for (const chunks of [[answer], [...answer]]) {
      const { api } = vmmThatAnswers(() => chunks);
      await assert.rejects(api.getVersion(), { reason: "INVALID_ANSWER" }, `an answer that ${name}`);
    }
  }
});

test("bytes behind an answer are INVALID_ANSWER", async () => {
  const withoutLength = version.replace(/Content-Length.*?\r\n/, "");
  for (const answer of [`${version}{}`, version + version, withoutLength]) {
    const { api } = vmmThatAnswers(() => [answer]);
    await assert.rejects(api.getVersion(), { reason: "INVALID_ANSWER" });
  }
});

test("an answer to PUT with a body is INVALID_ANSWER", async () => {
  const { api } = vmmThatAnswers(() => ["HTTP/1.1 204 \r\nContent-Length: 2\r\n\r\n{}"]);
  await assert.rejects(api.pause(), { reason: "INVALID_ANSWER" });
});

test("after a malformed answer no call of the connection is answered", async () => {
  const { api, stream } = vmmThatAnswers((request) => [
    request.startsWith("PATCH") ? noContent : `${version}${noContent}`,
  ]);
  await assert.rejects(api.getVersion(), { reason: "INVALID_ANSWER" });
  await assert.rejects(api.pause(), { reason: "INVALID_ANSWER" });
  assert.ok(stream.destroyed);
});

test("bytes that nobody asked for end the connection", async () => {
  const { api, stream } = vmmThatAnswers(() => [version]);
  await api.getVersion();
  stream.push(Buffer.from(noContent));
  await new Promise((resolve) => stream.once("close", resolve));
  await assert.rejects(api.pause(), { reason: "INVALID_ANSWER" });
});

test("a connection that ends is UNAVAILABLE for the call under way and those behind it", async () => {
  const { api, stream } = vmmThatAnswers(() => [version.slice(0, -5)]);
  const calls = [api.getVersion(), api.pause()];
  stream.push(null);
  for (const call of calls) await assert.rejects(call, { reason: "UNAVAILABLE" });
});

test("a VMM that never answers, or drips, is TIMED_OUT", async (context) => {
  for (const first of [[], ["HTTP/1.1 200 \r\n"], [version.slice(0, -1)]]) {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const { api, stream } = vmmThatAnswers(() => first);
    const call = assert.rejects(api.getVersion(), { reason: "TIMED_OUT" });
    await new Promise((resolve) => setImmediate(resolve));
    context.mock.timers.tick(2_000);
    await call;
    assert.ok(stream.destroyed);
    context.mock.timers.reset();
  }
});

test("callers beyond sixteen are turned away", async () => {
  const { api, stream } = vmmThatAnswers(() => []);
  const calls = Array.from({ length: 20 }, () => api.pause().catch((error: { message: string }) => error.message));
  stream.push(null);
  const messages = await Promise.all(calls);
  assert.equal(messages.filter((message) => message?.includes("too many")).length, 4);
});
