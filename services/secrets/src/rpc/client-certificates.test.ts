/** SVC-01, SVC-02: viewers and owners are issued and revoked by RPC, by operators alone, and nothing of a request but its key counts. */
import assert from "node:assert/strict";
import { createPrivateKey, randomUUID, X509Certificate } from "node:crypto";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { openClientList } from "@lobsterd/chassis/client-list.ts";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { waitFor } from "@lobsterd/chassis/lifecycle.ts";
import { captureLogs } from "@lobsterd/chassis/testing.ts";
import { ClientRole } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { openClientStore } from "../clients/client-store.ts";
import { openSecretDatabase } from "../store/database.ts";
import { certificateRequest } from "../testing/certificate-request.ts";
import { type RunningService, runningService } from "../testing/running-service.ts";

const dayMs = 86_400_000;
let service: RunningService;
before(async () => {
  service = await runningService();
});
after(() => service.close());

const requestFor = (name: string, role: ClientRole = ClientRole.OWNER, of = service) => {
  const { csrPem, keyPath } = certificateRequest(of.directory, name);
  return { request: { requestId: randomUUID(), name, role, csrPem, lifetimeDays: 0 }, keyPath };
};
const listPath = (of = service) => of.config.clients?.listPath ?? "";
// Read as a service reads it, from the start each time.
const listed = (of = service) => openClientList(listPath(of), captureLogs().logger)();
const reasonFor = (call: Promise<unknown>) =>
  call.then(
    () => assert.fail("the call succeeded"),
    (error: unknown) => reasonOf(ConnectError.from(error)) ?? ConnectError.from(error).rawMessage,
  );

async function issue(name: string, role: ClientRole = ClientRole.OWNER, of = service) {
  const { request, keyPath } = requestFor(name, role, of);
  const { certificatePem, certificate } = await of.clientsAs("operator").issueClientCertificate(request);
  const certificatePath = join(of.directory, `${name}.client.pem`);
  writeFileSync(certificatePath, certificatePem);
  return { leaf: { certificatePath, keyPath }, certificatePem, serialNumber: certificate?.serialNumber ?? "", request };
}

test("a certificate is the requester's key under the name, usage and lifetime that the operator said", async () => {
  const { certificatePem, serialNumber, leaf } = await issue("anna");
  const certificate = new X509Certificate(certificatePem);
  assert.equal(certificate.subjectAltName, "URI:spiffe://dev.test/client/anna");
  assert.equal(certificate.subject, "CN=anna");
  assert.equal(certificate.ca, false);
  assert.deepEqual(certificate.keyUsage, ["1.3.6.1.5.5.7.3.2"], "client authentication");
  assert.ok(certificate.checkPrivateKey(createPrivateKey(readFileSync(leaf.keyPath))));
  assert.ok(certificate.verify(new X509Certificate(readFileSync(service.config.clients?.caPath ?? "")).publicKey));
  assert.ok(!certificate.verify(new X509Certificate(readFileSync(service.platform.caPath)).publicKey));
  const entry = listed().get(serialNumber);
  assert.partialDeepStrictEqual(entry, { uri: "spiffe://dev.test/client/anna", role: "owner" });
  assert.equal(statSync(listPath()).mode & 0o777, 0o644);
  assert.equal(service.audit.entries.at(-1)?.resource, "client/anna");
});

test("it lasts 90 days unless asked for", async () => {
  const lasts = async (lifetimeDays: number) => {
    const { request } = requestFor(`days-${lifetimeDays}`);
    const { certificate } = await service.clientsAs("operator").issueClientCertificate({ ...request, lifetimeDays });
    return (Number(certificate?.expireTime?.seconds) - Number(certificate?.issueTime?.seconds)) / 86_400;
  };
  assert.deepEqual(await Promise.all([1, 0, 366].map(lasts)), [1, 90, 366]);
  assert.equal(await reasonFor(lasts(367)), "INVALID_FIELD");
});

test("the owner is an owner, the viewer a viewer, and an end of the certificate is an end of both", async () => {
  const [owner, viewer] = [await issue("olga"), await issue("vera", ClientRole.VIEWER)];
  const asOwner = service.asIssued(owner.leaf);
  const asViewer = service.asIssued(viewer.leaf);
  const isSeen = async () =>
    (await asOwner.listSecrets({ tenant: "mia" }).catch((error) => reasonOf(error))) === "TENANT_NOT_FOUND" &&
    (await asViewer.listSecrets({ tenant: "mia" }).catch(() => undefined)) !== undefined
      ? true
      : undefined;
  await waitFor("the new certificates", isSeen, { timeoutMs: 5000, intervalMs: 50 });
  assert.deepEqual((await asViewer.listSecrets({ tenant: "mia" })).secrets, []);
  const put = { requestId: randomUUID(), tenant: "mia", name: "key", value: { value: Buffer.from("value") } };
  assert.equal(await reasonFor(asViewer.putSecret(put)), "NOT_ALLOWED");
  assert.equal(await reasonFor(asOwner.putSecret(put)), "TENANT_NOT_FOUND");

  const ended = await service.clientsAs("operator").revokeClientCertificate({ requestId: randomUUID(), name: "olga" });
  assert.deepEqual(ended.serialNumbers, [owner.serialNumber]);
  const isOver = async () =>
    (await asOwner.listSecrets({ tenant: "mia" }).catch((error) => reasonOf(error))) === "CERTIFICATE_REVOKED"
      ? true
      : undefined;
  await waitFor("the end", isOver, { timeoutMs: 5000, intervalMs: 50 });
  assert.deepEqual((await asViewer.listSecrets({ tenant: "mia" })).secrets, []);
});

test("a revoked name is its former client's: it is issued again only if the operator says so", async () => {
  const operator = service.clientsAs("operator");
  const [first, second] = [await issue("nora"), await issue("nora")];
  await operator.revokeClientCertificate({ requestId: randomUUID(), name: "nora", serialNumber: first.serialNumber });
  const third = await issue("nora");
  await operator.revokeClientCertificate({ requestId: randomUUID(), name: "nora", serialNumber: second.serialNumber });
  await operator.revokeClientCertificate({ requestId: randomUUID(), name: "nora", serialNumber: third.serialNumber });
  await issue("nora"); // a certificate is lost, and its client is not gone

  await operator.revokeClientCertificate({ requestId: randomUUID(), name: "nora" });
  assert.equal(await reasonFor(issue("nora")), "CLIENT_NAME_REVOKED");
  await service.stop();
  await service.restart();
  assert.equal(await reasonFor(issue("nora", ClientRole.VIEWER)), "CLIENT_NAME_REVOKED");
  assert.ok([...listed().values()].every(({ uri }) => !uri.endsWith("/nora")));
  const { request } = requestFor("nora");
  await service.clientsAs("operator").issueClientCertificate({ ...request, reissue: true });
  await issue("nora");
});

test("a repeated request has one effect", async () => {
  const { request, certificatePem } = await issue("rita");
  const again = await service.clientsAs("operator").issueClientCertificate(request);
  assert.equal(again.certificatePem, certificatePem);
  const other = service.clientsAs("operator").issueClientCertificate({ ...request, role: ClientRole.VIEWER });
  assert.equal(await reasonFor(other), "REQUEST_ID_REUSED");
  assert.equal([...listed().values()].filter(({ uri }) => uri.endsWith("/rita")).length, 1);
  const revocation = { requestId: randomUUID(), name: "rita" };
  const [first, second] = [
    await service.clientsAs("operator").revokeClientCertificate(revocation),
    await service.clientsAs("operator").revokeClientCertificate(revocation),
  ];
  assert.deepEqual(second, first);
});

test("a bad name, role, request or key, and a name of the platform's, change nothing", async () => {
  const { request } = requestFor("otto");
  const csrOf = (algorithm: readonly string[]) => certificateRequest(service.directory, "bad", algorithm).csrPem;
  const { csrPem } = request;
  const signatureEnd = csrPem.indexOf("\n-----END") - 8;
  const wrongSignature = `${csrPem.slice(0, signatureEnd)}${csrPem[signatureEnd] === "A" ? "B" : "A"}${csrPem.slice(signatureEnd + 1)}`;
  const bodyOf = (pem: string) => Buffer.from(pem.split("-----")[2] ?? "", "base64");
  const pemOf = (der: Buffer) =>
    `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
  const refused: readonly (readonly [object, string])[] = [
    [{ name: "" }, "INVALID_FIELD"],
    [{ name: "../vm" }, "INVALID_FIELD"],
    [{ name: "a/b" }, "INVALID_FIELD"],
    [{ role: ClientRole.UNSPECIFIED }, "INVALID_FIELD"],
    [{ role: 3 }, "INVALID_FIELD"],
    [{ csrPem: "" }, "INVALID_FIELD"],
    [{ csrPem: `${csrPem}${"\n".repeat(9000)}` }, "INVALID_FIELD"],
    [{ csrPem: "no request" }, "CSR_REFUSED"],
    [{ csrPem: `${csrPem}${csrPem}` }, "CSR_REFUSED"],
    [{ csrPem: pemOf(bodyOf(csrPem).subarray(0, -10)) }, "CSR_REFUSED"],
    [{ csrPem: pemOf(Buffer.alloc(300, 0x30)) }, "CSR_REFUSED"],
    [{ csrPem: wrongSignature }, "CSR_REFUSED"],
    [{ csrPem: csrOf(["rsa:2048"]) }, "CSR_REFUSED"],
    [{ csrPem: csrOf(["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"]) }, "CSR_REFUSED"],
    [
      { csrPem: csrOf(["ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"]) },
      "CSR_REFUSED",
    ],
    [{ csrPem: csrOf(["ed25519"]) }, "CSR_REFUSED"],
    [{ name: "operator" }, "CLIENT_NAME_TAKEN"],
    [{ name: "former", reissue: true }, "CLIENT_NAME_TAKEN"],
  ];
  const known = readFileSync(listPath(), "utf8");
  for (const [change, reason] of refused) {
    const call = service
      .clientsAs("operator")
      .issueClientCertificate({ ...request, requestId: randomUUID(), ...change });
    assert.equal(await reasonFor(call), reason, JSON.stringify(change).slice(0, 80));
  }
  const none = service.clientsAs("operator").revokeClientCertificate({ requestId: randomUUID(), name: "otto" });
  assert.equal(await reasonFor(none), "CLIENT_CERTIFICATE_NOT_FOUND");
  assert.equal(readFileSync(listPath(), "utf8"), known);
  const large = csrOf(["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]);
  await service.clientsAs("operator").issueClientCertificate({ ...request, requestId: randomUUID(), csrPem: large });
});

test("one certificate of several is ended by its serial number, and of its own name alone", async () => {
  const [first, second, other] = [await issue("sara"), await issue("sara"), await issue("sven")];
  const { serialNumber } = first;
  const wrong = { requestId: randomUUID(), name: "sven", serialNumber };
  assert.equal(
    await reasonFor(service.clientsAs("operator").revokeClientCertificate(wrong)),
    "CLIENT_CERTIFICATE_NOT_FOUND",
  );
  await service.clientsAs("operator").revokeClientCertificate({ requestId: randomUUID(), name: "sara", serialNumber });
  assert.deepEqual(
    [first, second, other].map((one) => listed().has(one.serialNumber)),
    [false, true, true],
  );
});

test("without audit nothing is issued, and a revocation is done all the same", async () => {
  const { serialNumber } = await issue("tina");
  service.audit.mode = "fail";
  const { request } = requestFor("tom");
  assert.equal(await reasonFor(service.clientsAs("operator").issueClientCertificate(request)), "AUDIT_UNAVAILABLE");
  await service.clientsAs("operator").revokeClientCertificate({ requestId: randomUUID(), name: "tina" });
  service.audit.mode = "accept";
  assert.equal(listed().has(serialNumber), false);
  assert.ok([...listed().values()].every(({ uri }) => !uri.endsWith("/tom")));
});

test("what counts is listed in pages, and written again at the start as the store has it", async () => {
  const all = await service.clientsAs("operator").listClientCertificates({});
  const paged: string[] = [];
  let pageToken = "";
  do {
    const { certificates, page } = await service
      .clientsAs("operator")
      .listClientCertificates({ page: { pageSize: 2, pageToken } });
    paged.push(...certificates.map(({ serialNumber }) => serialNumber));
    pageToken = page?.nextPageToken ?? "";
  } while (pageToken !== "");
  assert.deepEqual(
    paged,
    all.certificates.map(({ serialNumber }) => serialNumber),
  );
  assert.deepEqual([...listed().keys()].sort(), paged.toSorted());
  await service.stop();
  rmSync(listPath());
  await service.restart();
  assert.deepEqual([...listed().keys()].sort(), paged.toSorted());
});

test("a thousand count and no more, their list is one that services read, the expired make room, and none outlasts the authority", async () => {
  const full = await runningService();
  try {
    await full.stop();
    const database = openSecretDatabase(join(full.config.stateDir, "secrets.sqlite"));
    const [issueTimeMs, expireTimeMs] = [Date.now(), Date.now() + dayMs];
    for (let index = 0; index < 1000; index += 1) {
      const serialNumber = (0x40n ** 20n + BigInt(index)).toString(16).toUpperCase();
      const name = `${"n".repeat(60)}${index}`.slice(0, 63);
      openClientStore(database).insert({ name, role: "owner", serialNumber, issueTimeMs, expireTimeMs });
    }
    database.close();
    await full.restart();
    assert.equal(listed(full).size, 1000);
    assert.equal(await reasonFor(issue("last", ClientRole.OWNER, full)), "CLIENT_CERTIFICATE_LIMIT");
    full.advance(dayMs + 1000);
    await issue("last", ClientRole.OWNER, full);
    assert.equal(listed(full).size, 1);
    full.advance(395 * dayMs);
    const { certificatePem } = await issue("late", ClientRole.OWNER, full);
    const authority = new X509Certificate(readFileSync(full.config.clients?.caPath ?? ""));
    assert.equal(new X509Certificate(certificatePem).validTo, authority.validTo);
  } finally {
    await full.close();
  }
});

test("a host without the authority says so", async () => {
  const bare = await runningService({ clients: undefined, clientsCaKeyPath: undefined });
  try {
    assert.equal(await reasonFor(issue("anna", ClientRole.OWNER, bare)), "CLIENT_AUTHORITY_MISSING");
    assert.equal(await reasonFor(bare.clientsAs("operator").listClientCertificates({})), "CLIENT_AUTHORITY_MISSING");
  } finally {
    await bare.close();
  }
});
