import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { IssueGuestIdentityResponseSchema } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { exampleTenant } from "../store/example-tenant.ts";
import { composeDiskMapping } from "./disk-mapping.ts";
import { composeIdentityDrive } from "./identity-drive.ts";

const tenant = exampleTenant({ name: "demo", vmId: "0".repeat(32), phase: "spawning" });

const identity = (certificatePem: string) =>
  create(IssueGuestIdentityResponseSchema, {
    certificatePem,
    privateKeyPem: { value: Buffer.from("private key") },
    platformCaPem: "authority",
    agentTokenDigest: Buffer.alloc(32, 2),
  });

const compose = (certificatePem: string, resolvers: readonly string[] = ["45.0.0.53"], diskKey?: Uint8Array) =>
  composeIdentityDrive({
    tenant,
    identity: identity(certificatePem),
    trustDomain: "lobsterd.test",
    hostNames: ["demo.lobsterd.test", "demo.guest.internal"],
    resolvers,
    hostTimeMs: 1234,
    traceparent: undefined,
    tokenDigest: Buffer.alloc(32, 1),
    diskKey,
  });

test("the drive is 64 KiB: a JSON document with the documented fields, then zero bytes", () => {
  const drive = compose("certificate");
  assert.equal(drive.length, 65_536);
  const end = drive.indexOf(0);
  assert.ok(drive.subarray(end).every((byte) => byte === 0));
  const { seedBase64, ...document } = JSON.parse(drive.subarray(0, end).toString("utf8"));
  assert.equal(Buffer.from(seedBase64, "base64").length, 64);
  assert.deepEqual(document, {
    version: 1,
    tenant: "demo",
    vmId: "0".repeat(32),
    generation: 2,
    trustDomain: "lobsterd.test",
    hostNames: ["demo.lobsterd.test", "demo.guest.internal"],
    certificatePem: "certificate",
    privateKeyPem: "private key",
    platformCaPem: "authority",
    tokenDigests: { vm: Buffer.alloc(32, 1).toString("base64"), secrets: Buffer.alloc(32, 2).toString("base64") },
    resolvers: ["45.0.0.53"],
    hostTimeMs: 1234,
    expectInjection: true,
  });
});

test("what opens the disk is in the last 3 KiB, and a plain disk has zeros there", () => {
  const key = Buffer.alloc(64, 9);
  const drive = compose("certificate", undefined, key);
  assert.equal(drive.length, 65_536);
  assert.deepEqual(drive.subarray(62_464), composeDiskMapping(key, 64));
  assert.equal(drive.indexOf(key.toString("hex")) >= 62_464, true);
  assert.ok(
    compose("certificate")
      .subarray(62_464)
      .equals(Buffer.alloc(3 * 1024)),
  );
});

test("every drive has a seed of its own", () => {
  assert.notDeepEqual(compose("certificate"), compose("certificate"));
});

test("a document that does not fit is refused, not cut", () => {
  assert.throws(() => compose("x".repeat(62_464)), RangeError);
});

test("resolvers are at most four IPv4 addresses", () => {
  for (const resolvers of [["::1"], ["dns.example"], ["45.0.0.53", "1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4"]]) {
    assert.throws(() => compose("certificate", resolvers), RangeError);
  }
});
