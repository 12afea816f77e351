/** Root's tools for clients: what they write is what the services follow, and what they cannot record they do not issue. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { openRevocations } from "@lobsterd/chassis/revocations.ts";
import { openRoles } from "@lobsterd/chassis/roles.ts";
import { captureLogs, fakeAuditSink } from "@lobsterd/chassis/testing.ts";
import { makeAuthority } from "./certificates.ts";
import { issueClient, keptRoles, revokeClient } from "./clients.ts";
import { instanceFiles } from "./configuration.ts";
import { certificatePaths } from "./identities.ts";
import { describeInstance } from "./instance.ts";

const directory = mkdtempSync(join(tmpdir(), "lobsterd-clients-"));
const instance = { ...describeInstance("dev"), stateDir: directory, configDir: directory };
const paths = certificatePaths(instance);
const uri = `spiffe://${instance.domain}/client/anna`;
const { logger } = captureLogs();
const skip = process.getuid?.() !== 0 && "only root issues certificates";

before(async () => {
  const { certificatePem, keyPem } = await makeAuthority("test platform CA");
  mkdirSync(join(paths.root, "clients"), { recursive: true, mode: 0o700 });
  writeFileSync(paths.platformCaPath, certificatePem);
  writeFileSync(paths.platformCaKeyPath, keyPem, { mode: 0o600 });
  writeFileSync(paths.revocationsPath, "{}");
});
after(() => rmSync(directory, { recursive: true }));

// Read as a service reads them, from the start each time.
const revoked = () => openRevocations(paths.revocationsPath, logger)();
const roles = () => openRoles(instanceFiles(instance).rolesPath, logger)();

test("a client gets a certificate that only root reads and a role, and loses every certificate and the role", {
  skip,
}, async () => {
  const audit = fakeAuditSink();
  const serials: string[] = [];
  for (let count = 0; count < 2; count += 1) {
    const { certificatePath, keyPath } = await issueClient(instance, "anna", "owner", { audit });
    const certificate = new X509Certificate(readFileSync(certificatePath));
    assert.equal(certificate.subjectAltName, `URI:${uri}`);
    assert.equal(statSync(keyPath).mode & 0o777, 0o600);
    serials.push(certificate.serialNumber);
  }
  assert.equal(roles().get(uri), "owner");
  assert.equal(roles().get(`spiffe://${instance.domain}/client/operator`), "operator", "others keep theirs");
  await issueClient(instance, "bert", "viewer", { audit });

  const { serialNumbers, isRecorded } = await revokeClient(instance, "anna", audit);
  assert.deepEqual(serialNumbers.sort(), serials.sort(), "the one before the last as well");
  assert.equal(isRecorded, true);
  assert.deepEqual([...revoked()].sort(), serials);
  assert.equal(roles().get(uri), "revoked");
  assert.equal(roles().get(`spiffe://${instance.domain}/client/bert`), "viewer");
  assert.equal(existsSync(`${paths.root}/clients/anna`), false);
  assert.equal(keptRoles(instance)[uri], "revoked", "nor does a start bring it back");
  const actions = audit.entries.map(({ action }) => action);
  assert.deepEqual(actions, [...Array(3).fill("IssueClientCertificate"), ...Array(2).fill("RevokeClientCertificate")]);

  await assert.rejects(issueClient(instance, "anna", "owner", { audit }), /--reissue/);
  assert.equal(audit.entries.length, actions.length);
  assert.equal(roles().get(uri), "revoked");
  const again = await issueClient(instance, "anna", "owner", { audit, reissue: true });
  assert.equal(roles().get(uri), "owner");
  assert.equal(revoked().has(new X509Certificate(readFileSync(again.certificatePath)).serialNumber), false);
});

test("without audit nothing is issued, and a revocation is done all the same and says so", { skip }, async () => {
  const audit = fakeAuditSink();
  await issueClient(instance, "carl", "operator", { audit });
  audit.mode = "fail";
  await assert.rejects(issueClient(instance, "dora", "operator", { audit }));
  assert.equal(existsSync(`${paths.root}/clients/dora`), false);
  assert.equal(roles().has(`spiffe://${instance.domain}/client/dora`), false);
  const { serialNumbers, isRecorded } = await revokeClient(instance, "carl", audit);
  assert.equal(isRecorded, false);
  assert.ok(serialNumbers.every((serial) => revoked().has(serial)) && serialNumbers.length === 1);
});

test("a name that secrets issued is refused until it is revoked there, and its list keeps root from nothing else", {
  skip,
}, async () => {
  const audit = fakeAuditSink();
  const { clientListPath } = instanceFiles(instance);
  mkdirSync(dirname(clientListPath), { recursive: true });
  const entry = { uri: `spiffe://${instance.domain}/client/ella`, role: "owner" };
  const list = (expireTime: Date) => JSON.stringify({ A1: { ...entry, expireTime: expireTime.toISOString() } });
  writeFileSync(clientListPath, list(new Date(Date.now() + 60_000)));
  await assert.rejects(issueClient(instance, "ella", "viewer", { audit }), /lobster client revoke ella/);
  assert.deepEqual(audit.entries, []);
  await issueClient(instance, "emil", "viewer", { audit });
  for (const text of [list(new Date(Date.now() - 1000)), "{}", "{"]) {
    writeFileSync(clientListPath, text);
    await issueClient(instance, "ella", "viewer", { audit });
  }
  rmSync(clientListPath);
  execFileSync("mkfifo", [clientListPath]);
  await issueClient(instance, "ella", "viewer", { audit });
});

test("a name that is none, or that has no certificate, changes nothing", { skip }, async () => {
  const audit = fakeAuditSink();
  const before = readFileSync(paths.issuedPath, "utf8");
  for (const name of ["", "../vm", "Anna", "a/b", "x".repeat(64)]) {
    await assert.rejects(issueClient(instance, name, "operator", { audit }), /client's name/);
    await assert.rejects(revokeClient(instance, name, audit), /client's name/);
  }
  await assert.rejects(revokeClient(instance, "nobody", audit), /no certificate/);
  assert.equal(readFileSync(paths.issuedPath, "utf8"), before);
  assert.deepEqual(audit.entries, []);
});
