import assert from "node:assert/strict";
import { test } from "node:test";
import { format, inspect } from "node:util";
import { serialize } from "node:v8";
import { create } from "@bufbuild/protobuf";
import { SecretBytesSchema } from "@lobsterd/proto/lobsterd/common/v1/common_pb.ts";
import { Secret } from "./secret.ts";
import { captureLogs } from "./testing.ts";

const canary = "canary-7f3a91";

test("taking leaves no second copy and destroying leaves none", () => {
  const source = Buffer.from(canary);
  const secret = Secret.take(source);
  assert.ok(source.every((byte) => byte === 0));
  const lent = secret.use((bytes) => bytes);
  assert.equal(Buffer.from(lent).toString(), canary);
  secret.destroy();
  assert.ok(lent.every((byte) => byte === 0));
  assert.throws(() => secret.use(() => undefined), /destroyed/);
});

test("no formatter and no log line shows a secret", () => {
  const { logger, logs } = captureLogs();
  const secret = Secret.take(Buffer.from(canary));
  const message = create(SecretBytesSchema, { value: Buffer.from(canary) });
  logger.info({ secret, message, deep: { list: [{ message }], raw: Buffer.from(canary) } }, "facts");
  logger.info({ token: canary, nested: { apiKey: canary, privateKeyPem: canary } }, "names");
  logger.error({ err: new Error("outer", { cause: { message } }) }, "failure");
  logger.error(new Error("bare"));
  const printed = [
    JSON.stringify(logs),
    `${secret}`,
    JSON.stringify({ secret }),
    inspect(secret),
    inspect({ secret }),
  ].join();
  for (const form of [canary, Buffer.from(canary).toString("base64"), Buffer.from(canary).toString("hex")]) {
    assert.ok(!printed.includes(form), form);
  }
  assert.ok(!printed.includes([...Buffer.from(canary)].join(",")));
  assert.equal((printed.match(/\[13 bytes\]/g) ?? []).length, 1, "raw bytes are shown by their length");
  assert.equal(logs.length, 4);
  assert.match(JSON.stringify(logs[2]), /"message":"outer"/);
});

test("no way of making text, a copy or a message of a secret shows it", () => {
  const secret = Secret.take(Buffer.from(canary));
  const shown = [
    inspect(secret, { showHidden: true, depth: Infinity, getters: true, customInspect: false }),
    format("%s %j %o %O %d", secret, secret, secret, secret, secret),
    `${secret}${[secret]}`,
    String(secret) + secret,
    JSON.stringify([secret, { secret }, new Map([["a", secret]])]),
    JSON.stringify(Object.entries(secret)) + JSON.stringify(Reflect.ownKeys(secret)),
    JSON.stringify({ ...secret }),
    inspect(structuredClone({ ...secret })),
    serialize({ ...secret }).toString("latin1"),
    new Error(`failed with ${secret}`).message,
    inspect(new Error("failed", { cause: secret })),
  ].join("\n");
  for (const form of [canary, Buffer.from(canary).toString("base64"), Buffer.from(canary).toString("hex")]) {
    assert.ok(!shown.includes(form), form);
  }
  assert.ok(!shown.includes([...Buffer.from(canary)].slice(0, 6).join(", ")), "nor as a list of bytes");
  secret.destroy();
});

test("a span takes no secret but as its redaction", () => {
  const attributes: unknown[] = [];
  // What an instrumentation does with a value that is no primitive: it makes text or JSON of it.
  const secret = Secret.take(Buffer.from(canary));
  for (const toText of [String, JSON.stringify, (value: unknown) => `${value}`]) attributes.push(toText(secret));
  assert.deepEqual(attributes, ["[redacted]", '"[redacted]"', "[redacted]"]);
});

test("what is logged is bounded", () => {
  const { logger, logs } = captureLogs();
  const cyclic: Record<string, unknown> = { text: "a".repeat(100_000), list: Array.from({ length: 5000 }, () => 1) };
  cyclic.self = cyclic;
  logger.info(cyclic, "big");
  assert.ok(JSON.stringify(logs[0]).length < 40_000);
});
