/**
 * Client certificates of an instance, issued and revoked by root on the host, who alone can read the platform CA's key (ADR 0040).
 *
 *  1. Every leaf that was ever signed is in `issued.json` until it expires: to revoke a name is to list all of its serial numbers.
 *  2. Issuing is recorded before it is done, and not done without audit. Revoking is done first, and said to be unrecorded if it is.
 *  3. Services follow the roles and the revocations, so both count within seconds.
 *  4. A name that was revoked stays in the roles as that: whoever has a name owns the tenants that were spawned for it, so nobody new gets it, of
 *     `secrets` either.
 */
import { X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { type AuditEntry, type AuditSink, createAuditClient, ownOutcome } from "@lobsterd/chassis/audit.ts";
import { openClientList } from "@lobsterd/chassis/client-list.ts";
import { createLogger } from "@lobsterd/chassis/logger.ts";
import { revocationsSchema } from "@lobsterd/chassis/revocations.ts";
import { rolesSchema } from "@lobsterd/chassis/roles.ts";
import { z } from "zod";
import { makeLeaf } from "./certificates.ts";
import { instanceFiles, rpcSocketPath } from "./configuration.ts";
import { writePrivateTogether, writePublic } from "./files.ts";
import { type CredentialPaths, certificatePaths, issuedSchema, noteIssued, rolesOf } from "./identities.ts";
import type { Instance } from "./instance.ts";

const nameSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9.-]{0,62}$/, "a client's name is lower-case letters, digits, dots and hyphens");
export const roleSchema = z.enum(["operator", "viewer", "owner"]);
export type ClientRole = z.infer<typeof roleSchema>;

const root = { uid: 0, gid: 0 };

/** The audit log as root's tools write to it, with a certificate of their own. */
export function hostAudit(instance: Instance): AuditSink {
  const paths = certificatePaths(instance);
  const peer = { service: "audit", unixPath: rpcSocketPath(instance, "audit") };
  const tls = { ...paths.leaf("host"), platformCaPath: paths.platformCaPath, trustDomain: instance.domain };
  return createAuditClient({ peer, tls });
}

/**
 * Issues a certificate to a client, which is a new one if it has some, and gives it a role. `reissue` says that the client is the one that had the name
 * when it was revoked. Throws, and does nothing, without audit.
 */
export async function issueClient(
  instance: Instance,
  name: string,
  role: ClientRole,
  { reissue = false, audit = hostAudit(instance) }: { readonly reissue?: boolean; readonly audit?: AuditSink } = {},
): Promise<CredentialPaths> {
  const uri = `spiffe://${instance.domain}/client/${nameSchema.parse(name)}`;
  requireFreeName(instance, uri, name);
  if (keptRoles(instance)[uri] === "revoked" && !reissue)
    throw new Error(`${name} was revoked, and its tenants would be this client's: --reissue if it is the same one`);
  const paths = certificatePaths(instance);
  const authority = {
    certificatePem: readFileSync(paths.platformCaPath, "utf8"),
    keyPem: readFileSync(paths.platformCaKeyPath, "utf8"),
  };
  const leaf = await makeLeaf(authority, { commonName: name, uri, usages: ["client"] });
  const { serialNumber } = new X509Certificate(leaf.certificatePem);
  await audit.append(recordOf("IssueClientCertificate", name, serialNumber, role));
  noteIssued(paths, leaf.certificatePem);
  const { certificatePath, keyPath } = paths.leaf(`clients/${name}`);
  mkdirSync(`${paths.root}/clients/${name}`, { recursive: true, mode: 0o700 });
  const files = [
    { path: keyPath, content: leaf.keyPem },
    { path: certificatePath, content: leaf.certificatePem },
  ];
  writePrivateTogether(files, root, 0o600);
  writeRoles(instance, (roles) => ({ ...roles, [uri]: role }));
  return { certificatePath, keyPath };
}

/** Takes its role and every certificate from a client; returns their serial numbers. */
export async function revokeClient(
  instance: Instance,
  name: string,
  audit: AuditSink = hostAudit(instance),
): Promise<{ serialNumbers: string[]; isRecorded: boolean }> {
  const uri = `spiffe://${instance.domain}/client/${nameSchema.parse(name)}`;
  const paths = certificatePaths(instance);
  const issued = Object.entries(issuedSchema.parse(readJson(paths.issuedPath))).filter(([, leaf]) => leaf.uri === uri);
  if (issued.length === 0) throw new Error(`no certificate of ${uri} was issued`);
  const now = new Date();
  const isDue = ([, { expireTime }]: readonly [string, { expireTime: string }]) => new Date(expireTime) > now;
  const before = Object.entries(revocationsSchema.parse(readJson(paths.revocationsPath))).filter(isDue);
  const ended = issued.filter(isDue).map(([serial, leaf]) => [serial, { ...leaf, revokeTime: now.toISOString() }]);
  writeJson(paths.revocationsPath, { ...Object.fromEntries(ended), ...Object.fromEntries(before) });
  writeRoles(instance, (roles) => ({ ...roles, [uri]: "revoked" }));
  rmSync(`${paths.root}/clients/${name}`, { recursive: true, force: true });
  const serialNumbers = ended.map(([serial]) => String(serial));
  const records = serialNumbers.map((serial) => recordOf("RevokeClientCertificate", name, serial, "REVOKED"));
  const isRecorded = await Promise.all(records.map((entry) => audit.append(entry))).then(
    () => true,
    () => false,
  );
  return { serialNumbers, isRecorded };
}

/** The roles that a start writes: those of the first clients, and what was issued and revoked since. */
export function keptRoles(instance: Instance): Roles {
  const paths = [certificatePaths(instance).clientRolesPath, instanceFiles(instance).rolesPath];
  const path = paths.find((one) => existsSync(one));
  return path === undefined ? rolesOf(instance.domain) : rolesSchema.parse(readJson(path));
}

type Roles = z.infer<typeof rolesSchema>;

function writeRoles(instance: Instance, change: (roles: Roles) => Roles): void {
  const roles = change(keptRoles(instance));
  // What lasts, and what the services read: on a development stack the latter goes with the run.
  writeJson(certificatePaths(instance).clientRolesPath, roles);
  writeJson(instanceFiles(instance).rolesPath, roles);
}

/**
 * A name is of one authority. `secrets` refuses one that has a role here; should both have it, its certificates are worth nothing, which is why a list that
 * cannot be read keeps root from nothing.
 */
function requireFreeName(instance: Instance, uri: string, name: string): void {
  const path = instanceFiles(instance).clientListPath;
  if (!existsSync(path)) return;
  const issued = openClientList(path, createLogger({ service: "host", level: "error" }, process.stderr))();
  const now = new Date();
  if ([...issued.values()].some((client) => client.uri === uri && new Date(client.expireTime) > now))
    throw new Error(`${name} has certificates of secrets: lobster client revoke ${name}`);
}

function recordOf(action: string, name: string, serialNumber: string, reason: string): AuditEntry {
  const resource = `client/${name}/${serialNumber}`.slice(0, 128);
  return ownOutcome({ action, tenant: "", resource, generation: 0, outcome: "success", reason: reason.toUpperCase() });
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}

function writeJson(path: string, value: unknown): void {
  writePublic(path, `${JSON.stringify(value, undefined, 2)}\n`);
}
