import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { IssueClientCertificateResponseSchema } from "@lobsterd/proto/lobsterd/secrets/v1/client_pb.ts";
import { clientOperand, clientRoles } from "../client-text.ts";
import { type Command, UsageError, type Words } from "../command.ts";
import { exitStatus } from "../failure.ts";
import { requestIdOption } from "../operands.ts";
import { printable } from "../printable.ts";
import { momentText, show } from "../show.ts";

const maxDays = 366;
const maxRequestBytes = 8192;

export const clientIssue: Command = {
  name: "client issue",
  summary: "issue a certificate to a viewer or an owner of tenants",
  operands: [clientOperand],
  options: {
    role: { value: "ROLE", help: "what the client may do", choices: Object.keys(clientRoles) },
    out: { value: "DIR", help: "new directory for key.pem, certificate.pem and ca.pem; must not exist" },
    days: { value: "DAYS", help: `how long the certificate lasts (default 90, at most ${maxDays})` },
    reissue: { help: "give a revoked name back to the client that had it, with the tenants that were spawned for it" },
    csr: { value: "FILE", help: "certificate request of a key that stays where it was made; no key.pem then" },
    "request-id": requestIdOption,
  },
  notes: `The key is made here and never sent. The certificate counts within two seconds; \`lobster client revoke\` ends it. Certificates of operators are made
by root on the host (\`make client\`). --request-id goes with --csr: without it each call has a key of its own.`,
  async run(words, context) {
    const name = words.operand("NAME");
    const role = roleOf(words);
    const directory = words.text("out");
    if (directory === undefined) throw new UsageError("--out DIR is missing");
    const lifetimeDays = words.count("days", maxDays) ?? 0;
    const csrPath = words.text("csr");
    const { csrPem, keyPem } =
      csrPath === undefined ? await newRequest(name) : { csrPem: readRequest(csrPath), keyPem: undefined };
    makeNew(directory);
    let isWhole = false;
    try {
      if (keyPem !== undefined) writeNew(join(directory, "key.pem"), keyPem);
      const requestId = words.text("request-id") ?? randomUUID();
      const request = { requestId, name, role, csrPem, lifetimeDays, reissue: words.has("reissue") };
      const { signal } = context;
      const answer = await context.clients.clientCertificates.issueClientCertificate(request, { signal });
      writeNew(join(directory, "certificate.pem"), answer.certificatePem);
      writeNew(join(directory, "ca.pem"), answer.platformCaPem);
      isWhole = true;
      const until = momentText(answer.certificate?.expireTime);
      await show(
        context,
        IssueClientCertificateResponseSchema,
        answer,
        () => `${printable(directory)}: ${words.text("role")} ${printable(name)} until ${until}\n`,
      );
    } finally {
      if (!isWhole) rmSync(directory, { recursive: true });
    }
    return exitStatus.ok;
  },
};

/** The certificate library is loaded here alone: every other command would wait for it. */
async function newRequest(name: string) {
  const { makeRequest } = await import("../certificate-request.ts");
  return makeRequest(name);
}

function roleOf(words: Words) {
  const role = words.text("role");
  if (role !== "owner" && role !== "viewer") throw new UsageError("--role owner|viewer is missing");
  return clientRoles[role];
}

function readRequest(path: string): string {
  if (statSync(path).size > maxRequestBytes) throw new UsageError(`${path} is no certificate request`);
  return readFileSync(path, "utf8");
}

/** A directory that nobody else can look into, and nobody made before. */
function makeNew(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new UsageError(`${path} exists`);
  }
}

function writeNew(path: string, content: string): void {
  const file = openSync(path, "wx", 0o600);
  try {
    writeFileSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
