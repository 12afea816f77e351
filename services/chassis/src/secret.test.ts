import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
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

test("what is logged is bounded", () => {
  const { logger, logs } = captureLogs();
  const cyclic: Record<string, unknown> = { text: "a".repeat(100_000), list: Array.from({ length: 5000 }, () => 1) };
  cyclic.self = cyclic;
  logger.info(cyclic, "big");
  assert.ok(JSON.stringify(logs[0]).length < 40_000);
});
