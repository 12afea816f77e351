import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type InjectSecretsRequest, InjectSecretsRequestSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { withoutSecrets } from "./redacted-message.ts";

const request = (name: string, value: string): InjectSecretsRequest =>
  create(InjectSecretsRequestSchema, { secrets: [{ name, version: 1, value: { value: Buffer.from(value) } }] });
const bytes = (name: string, value: string) =>
  Buffer.from(withoutSecrets(InjectSecretsRequestSchema, request(name, value)));

test("secret values do not count, everything else does, and the message is left as it was", () => {
  assert.deepEqual(bytes("key", "one"), bytes("key", "two"));
  assert.notDeepEqual(bytes("key", "one"), bytes("other", "one"));
  assert.ok(!bytes("key", "canary").includes("canary"));
  const original = request("key", "one");
  withoutSecrets(InjectSecretsRequestSchema, original);
  assert.equal(Buffer.from(original.secrets[0]?.value?.value ?? []).toString(), "one");
});
