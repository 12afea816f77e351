import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { test } from "node:test";
import { isValidFor, makeAuthority, makeLeaf } from "./certificates.ts";
import { extraHostZone, platformIdentities, rolesOf } from "./identities.ts";

const domain = "lobsterd.localhost";

test("every leaf of the platform carries its names, its key and nothing that signs", async () => {
  const authority = await makeAuthority("authority");
  const issuer = new X509Certificate(authority.certificatePem);
  for (const { directory, request } of platformIdentities(domain)) {
    const leaf = await makeLeaf(authority, request);
    const certificate = new X509Certificate(leaf.certificatePem);
    assert.ok(certificate.verify(issuer.publicKey), directory);
    assert.ok(certificate.checkIssued(issuer), directory);
    assert.equal(certificate.ca, false, directory);
    assert.ok(certificate.checkPrivateKey(createPrivateKey(leaf.keyPem)), directory);
    assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
    const usages = { server: "1.3.6.1.5.5.7.3.1", client: "1.3.6.1.5.5.7.3.2" };
    assert.deepEqual(
      certificate.keyUsage,
      request.usages.map((usage) => usages[usage]),
      directory,
    );
    const names = certificate.subjectAltName ?? "";
    assert.equal(names.match(/URI:/g)?.length ?? 0, directory === "web" ? 0 : 1, directory);
    assert.ok(directory === "web" || names.includes(`URI:${request.uri}`), directory);
  }
});

test("services answer on localhost and the web leaf on every tenant's name and extra host name", async () => {
  const authority = await makeAuthority("authority");
  const leafOf = async (directory: string) => {
    const identity = platformIdentities(domain).find((one) => one.directory === directory);
    assert.ok(identity, directory);
    return new X509Certificate((await makeLeaf(authority, identity.request)).certificatePem);
  };
  const service = await leafOf("vm");
  assert.equal(service.checkHost("localhost"), "localhost");
  assert.equal(service.checkIP("127.0.0.1"), "127.0.0.1");
  assert.match(service.subjectAltName ?? "", /URI:spiffe:\/\/lobsterd\.localhost\/svc\/vm/);
  const web = await leafOf("web");
  assert.equal(web.checkHost(`demo.${domain}`), `*.${domain}`);
  assert.equal(web.checkHost(`shop.${extraHostZone}`), `*.${extraHostZone}`);
  assert.equal(web.checkHost(`a.b.${domain}`), undefined);
  assert.equal(web.checkHost("localhost"), undefined);
});

test("a leaf is worth nothing under another authority", async () => {
  const [ours, theirs] = [await makeAuthority("one"), await makeAuthority("one")];
  const leaf = new X509Certificate((await makeLeaf(ours, { commonName: "x", usages: ["client"] })).certificatePem);
  assert.equal(leaf.verify(new X509Certificate(theirs.certificatePem).publicKey), false);
});

test("an authority may sign leaves and not authorities", async () => {
  const certificate = new X509Certificate((await makeAuthority("authority")).certificatePem);
  assert.equal(certificate.ca, true);
  // basicConstraints: CA true, pathLenConstraint 0.
  assert.ok(certificate.raw.includes(Buffer.from("30060101ff020100", "hex")));
});

test("validity is counted from the moment of issue", async () => {
  const now = new Date("2026-01-01T00:00:00Z");
  const { certificatePem } = await makeLeaf(
    await makeAuthority("a", now),
    { commonName: "x", usages: ["client"] },
    now,
  );
  assert.ok(isValidFor(certificatePem, 364, now));
  assert.ok(!isValidFor(certificatePem, 366, now));
});

test("operator and viewer have roles and the stranger has none", () => {
  assert.deepEqual(rolesOf(domain), {
    "spiffe://lobsterd.localhost/client/operator": "operator",
    "spiffe://lobsterd.localhost/client/viewer": "viewer",
  });
});
