import assert from "node:assert/strict";
import { test } from "node:test";
import { IdentityError, parseIdentity } from "./identity.ts";

const whole = {
  version: 1,
  tenant: "demo",
  vmId: "0123456789abcdef0123456789abcdef",
  generation: 3,
  trustDomain: "lobsterd.test",
  hostNames: ["demo.guest.internal", "demo.example.test"],
  certificatePem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
  privateKeyPem: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
  platformCaPem: "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n",
  tokenDigests: { vm: Buffer.alloc(32, 1).toString("base64"), secrets: Buffer.alloc(32, 2).toString("base64") },
  hostTimeMs: 1,
  seedBase64: Buffer.alloc(64, 7).toString("base64"),
  resolvers: ["45.0.0.53"],
  expectInjection: true,
};

test("a whole identity is read", () => {
  const identity = parseIdentity(JSON.stringify(whole));
  assert.equal(identity.tenant, "demo");
  assert.equal(identity.generation, 3);
  assert.equal(identity.seed.length, 64);
  assert.deepEqual(identity.tokenDigests.secrets, Buffer.alloc(32, 2));
  assert.equal(identity.hostTimeMs, 1);
  assert.equal(identity.traceparent, undefined);
  assert.ok(identity.hostNames.has("demo.example.test"));
  assert.deepEqual(identity.resolvers, ["45.0.0.53"]);
  assert.deepEqual(parseIdentity(JSON.stringify({ ...whole, resolvers: [] })).resolvers, []);
});

for (const field of Object.keys(whole)) {
  test(`an identity without ${field} is refused`, () => {
    assert.throws(() => parseIdentity(JSON.stringify({ ...whole, [field]: undefined })), IdentityError);
  });
}

const malformed: readonly (readonly [string, unknown])[] = [
  ["version", 2],
  ["tenant", "Demo"],
  ["vmId", "xyz"],
  ["generation", 0],
  ["generation", 1.5],
  ["generation", "1"],
  ["hostNames", []],
  ["hostNames", ["UPPER.example"]],
  ["hostNames", "demo.example.test"],
  ["seedBase64", "AAAA"],
  ["hostTimeMs", -1],
  ["hostTimeMs", "1"],
  ["tokenDigests", {}],
  ["tokenDigests", { vm: Buffer.alloc(32, 1).toString("base64") }],
  ["tokenDigests", { vm: "", secrets: "" }],
  ["resolvers", "45.0.0.53"],
  ["resolvers", ["::1"]],
  ["resolvers", ["45.0.0.53\noptions"]],
  ["resolvers", [45]],
  ["resolvers", ["45.0.0.1", "45.0.0.2", "45.0.0.3", "45.0.0.4", "45.0.0.5"]],
  ["expectInjection", "false"],
  ["privateKeyPem", "key"],
  ["traceparent", "nonsense"],
];
for (const [field, value] of malformed) {
  test(`an identity with ${field} ${JSON.stringify(value)} is refused`, () => {
    assert.throws(() => parseIdentity(JSON.stringify({ ...whole, [field]: value })), IdentityError);
  });
}

test("an error never quotes the document", () => {
  for (const document of [
    '{"privateKeyPem": "canary',
    JSON.stringify({ ...whole, privateKeyPem: "canary" }),
    "null",
    "[]",
    "",
  ]) {
    assert.throws(
      () => parseIdentity(document),
      (error) => error instanceof IdentityError && !error.message.includes("canary"),
    );
  }
});

test("a document larger than the drive is refused", () => {
  assert.throws(() => parseIdentity(JSON.stringify({ ...whole, padding: "x".repeat(70_000) })), IdentityError);
});
