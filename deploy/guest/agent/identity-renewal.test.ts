import assert from "node:assert/strict";
import { createPublicKey, type KeyObject, verify, webcrypto } from "node:crypto";
import { before, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { InstallIdentityRequestSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { CurrentIdentity } from "./current-identity.ts";
import { IdentityRenewal } from "./identity-renewal.ts";
import { newTokens, type TestGuest, testDomain, testGuest } from "./testing.ts";

let guest: TestGuest;
before(async () => {
  guest = await testGuest();
});

const uriOf = (generation: number) => `spiffe://${testDomain}/guest/demo/${"0".repeat(32)}/${generation}`;

function subject(): { current: CurrentIdentity; renewal: IdentityRenewal } {
  const current = new CurrentIdentity(guest.identity);
  return { current, renewal: new IdentityRenewal(current) };
}

function keyOf(spki: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
}

async function certificate(spki: Uint8Array, uri: string, notAfter?: Date): Promise<string> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const publicKey = await webcrypto.subtle.importKey("spki", Uint8Array.from(spki), algorithm, true, ["verify"]);
  const { certificatePem } = await guest.guests.issue({
    ...{ uri, publicKey, notBefore: new Date(Date.now() - 600_000) },
    ...(notAfter === undefined ? {} : { notAfter }),
  });
  return certificatePem;
}

const digests: Record<"vm" | "secrets", Uint8Array> = { vm: Buffer.alloc(32, 3), secrets: Buffer.alloc(32, 4) };

type Change = { generation?: number; platformCaPem?: string; tokenDigests?: typeof digests };

function request(certificatePem: string, change: Change = {}) {
  const { platformCaPem } = guest.identity;
  return create(InstallIdentityRequestSchema, {
    ...{ generation: 1, certificatePem, platformCaPem, tokenDigests: digests, ...change },
  });
}

function refusal(act: () => void): string | undefined {
  try {
    act();
  } catch (error) {
    return ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason;
  }
  return "ok";
}

test("a key comes with a proof for this guest and the wanted generation", () => {
  const { publicKey, proof } = subject().renewal.createKey(2);
  assert.equal(publicKey.length, 91);
  const key = { key: keyOf(publicKey), dsaEncoding: "ieee-p1363" } as const;
  const proved = (generation: number) =>
    Buffer.concat([Buffer.from(`lobsterd guest key v1\0${uriOf(generation)}\0`), publicKey]);
  assert.equal(verify("sha256", proved(2), key, proof), true);
  assert.equal(verify("sha256", proved(1), key, proof), false);
});

test("with its certificate the new key is the guest's identity, and only once", async () => {
  const { current, renewal } = subject();
  const { publicKey } = renewal.createKey(1);
  const pem = await certificate(publicKey, uriOf(1));
  renewal.install(request(pem));
  assert.equal(current.value.certificatePem, pem);
  assert.notEqual(current.value.privateKeyPem, guest.identity.privateKeyPem);
  assert.deepEqual(createPublicKey(current.value.privateKeyPem).export({ type: "spki", format: "der" }), publicKey);
  assert.deepEqual(Buffer.from(current.value.tokenDigests.vm), digests.vm);
  assert.equal(
    refusal(() => renewal.install(request(pem))),
    "KEY_MISSING",
  );
});

test("a later generation is taken, an earlier one is not", async () => {
  const { current, renewal } = subject();
  const { publicKey } = renewal.createKey(2);
  renewal.install(request(await certificate(publicKey, uriOf(2)), { generation: 2 }));
  assert.equal(current.value.generation, 2);
  assert.equal(
    refusal(() => renewal.createKey(1)),
    "INVALID_FIELD",
  );
});

test("a key of a later generation that waits for its certificate is not replaced by one of an earlier", async () => {
  const { current, renewal } = subject();
  const { publicKey } = renewal.createKey(2);
  assert.equal(
    refusal(() => renewal.createKey(1)),
    "INVALID_FIELD",
  );
  renewal.install(request(await certificate(publicKey, uriOf(2)), { generation: 2 }));
  assert.equal(current.value.generation, 2);
});

test("whatever is wrong with a new identity, the guest keeps the one it has", async () => {
  const { current, renewal } = subject();
  assert.equal(
    refusal(() => renewal.install(request("no key was made"))),
    "KEY_MISSING",
  );
  const first = renewal.createKey(1);
  const { publicKey } = renewal.createKey(1);
  const good = await certificate(publicKey, uriOf(1));
  const wrong = [
    request("nonsense"),
    request(good, { platformCaPem: "nonsense" }),
    request(await certificate(first.publicKey, uriOf(1))),
    request(await certificate(publicKey, uriOf(2))),
    request(await certificate(publicKey, uriOf(1).replace("demo", "other"))),
    request(await certificate(publicKey, uriOf(1), new Date(Date.now() - 60_000))),
    request(good, { tokenDigests: { vm: Buffer.alloc(31), secrets: digests.secrets } }),
    request(good, { tokenDigests: { vm: Buffer.from(newTokens().vm), secrets: digests.secrets } }),
  ];
  for (const [index, one] of wrong.entries()) {
    assert.equal(
      refusal(() => renewal.install(one)),
      "INVALID_FIELD",
      String(index),
    );
    assert.equal(current.value, guest.identity);
  }
  assert.equal(
    refusal(() => renewal.install(request(good, { generation: 2 }))),
    "KEY_MISSING",
  );
  assert.equal(
    refusal(() => renewal.install(request(good))),
    "ok",
  );
});
