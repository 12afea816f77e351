// The certificate library's dependency injection needs this to be loaded before it.
import "reflect-metadata";
import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ClientRole } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { Pkcs10CertificateRequest } from "@peculiar/x509";
import { fakeStack } from "../testing/fake-stack.ts";
import { runCommand } from "../testing/run-command.ts";

const directory = mkdtempSync(join(tmpdir(), "lobster-client-"));
after(() => rmSync(directory, { recursive: true }));

test("client issue makes the key here, closed to others, and sends a request that it signed", async () => {
  const stack = fakeStack();
  const out = join(directory, "anna");
  const { status, stdout } = await runCommand(["client", "issue", "anna", "--role", "owner", "--out", out], { stack });
  assert.deepEqual([status, stdout], [0, `${out}: owner anna until 2024-02-12T22:13:20.000Z\n`]);
  assert.deepEqual(readdirSync(out).sort(), ["ca.pem", "certificate.pem", "key.pem"]);
  assert.equal(statSync(out).mode & 0o777, 0o700);
  for (const file of readdirSync(out)) assert.equal(statSync(join(out, file)).mode & 0o777, 0o600, file);
  assert.equal(readFileSync(join(out, "certificate.pem"), "utf8"), "certificate of anna\n");
  const [request] = stack.clientCertificates.requests;
  assert.equal(request?.role, ClientRole.OWNER);
  assert.doesNotMatch(request?.csrPem ?? "", /PRIVATE/);
  const csr = new Pkcs10CertificateRequest(request?.csrPem ?? "");
  assert.ok(await csr.verify());
  const own = createPublicKey(readFileSync(join(out, "key.pem"))).export({ type: "spki", format: "der" });
  assert.deepEqual(Buffer.from(csr.publicKey.rawData), own);
});

test("client issue leaves nothing behind that was not issued, and touches nothing that is there", async () => {
  const stack = fakeStack();
  const out = join(directory, "taken");
  const words = ["client", "issue", "operator", "--role", "viewer", "--out", out];
  assert.equal((await runCommand(words, { stack })).status, 6);
  assert.equal(existsSync(out), false);
  mkdirSync(out);
  writeFileSync(join(out, "key.pem"), "mine");
  assert.equal((await runCommand(["client", "issue", "bert", "--role", "viewer", "--out", out], { stack })).status, 2);
  assert.equal(readFileSync(join(out, "key.pem"), "utf8"), "mine");
  for (const wrong of [
    ["--role", "operator", "--out", "x"],
    ["--role", "owner"],
    ["--out", "x"],
    ["--role", "owner", "--out", "x", "--days", "367"],
  ])
    assert.equal((await runCommand(["client", "issue", "bert", ...wrong], { stack })).status, 2, wrong.join(" "));
  assert.equal(existsSync("x"), false);
  assert.deepEqual(stack.clientCertificates.requests, []);
});

test("client issue takes the request of a key that stays elsewhere", async () => {
  const stack = fakeStack();
  const [out, csr] = [join(directory, "vera"), join(directory, "vera.csr")];
  writeFileSync(csr, "request\n");
  const words = ["client", "issue", "vera", "--role", "viewer", "--out", out, "--csr", csr, "--days", "1"];
  assert.equal((await runCommand(words, { stack })).status, 0);
  assert.deepEqual(readdirSync(out).sort(), ["ca.pem", "certificate.pem"]);
  assert.partialDeepStrictEqual(stack.clientCertificates.requests[0], { csrPem: "request\n", lifetimeDays: 1 });
});

test("client issue gives a revoked name out again only when it is told to", async () => {
  const stack = fakeStack();
  const words = (count: number) => [
    "client",
    "issue",
    "ida",
    "--role",
    "owner",
    "--out",
    join(directory, `ida-${count}`),
  ];
  assert.equal((await runCommand(words(1), { stack })).status, 0);
  assert.equal((await runCommand(["client", "revoke", "ida"], { stack })).status, 0);
  const refused = await runCommand(words(2), { stack });
  assert.deepEqual([refused.status, existsSync(join(directory, "ida-2"))], [6, false]);
  assert.match(refused.stderr, /CLIENT_NAME_REVOKED/);
  assert.equal((await runCommand([...words(2), "--reissue"], { stack })).status, 0);
});

test("client ls and client revoke", async () => {
  const stack = fakeStack();
  for (const [index, name] of ["anna", "anna", "vera"].entries())
    await runCommand(["client", "issue", name, "--role", "viewer", "--out", join(directory, `ls-${index}`)], { stack });
  const { stdout } = await runCommand(["client", "ls"], { stack });
  assert.match(stdout, /^NAME +ROLE +SERIAL +ISSUED +EXPIRES\nanna +viewer +A0 /);
  const one = await runCommand(["client", "revoke", "anna", "--serial", "A1"], { stack });
  assert.equal(one.stdout, "revoked of anna: A1\n");
  assert.equal((await runCommand(["client", "revoke", "anna"], { stack })).stdout, "revoked of anna: A0\n");
  assert.equal((await runCommand(["client", "revoke", "anna"], { stack })).status, 3);
  assert.deepEqual(
    stack.clientCertificates.issued.map(({ name }) => name),
    ["vera"],
  );
  const viewer = await runCommand(["client", "ls"], { stack: fakeStack("role:viewer") });
  assert.equal(viewer.status, 5);
});
