import { createHash, X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { uriNames } from "@lobsterd/chassis/caller.ts";
import { z } from "zod";
import { type Credential, isValidFor, type LeafRequest, makeAuthority, makeLeaf } from "./certificates.ts";
import { ensureDirectory, writePrivate, writePrivateTogether, writePublic } from "./files.ts";
import { hostInstanceName, type Instance, serviceNames } from "./instance.ts";
import type { Accounts } from "./users.ts";

/** Client certificates. `stranger` is signed by the same authority and has no role: a host that systemd runs has none. */
export const clientNames = ["operator", "viewer", "stranger"] as const;
export type ClientName = (typeof clientNames)[number];

/** A leaf of the platform CA: where it is, whose it is and what it says. */
export interface Identity {
  /** Directory below `certificates/`. */
  readonly directory: string;
  readonly owner: string;
  /** Whose key it is to read and not to replace: root owns the file, the user's group reads it. */
  readonly isOnlyRead?: true;
  readonly request: LeafRequest;
}

/** Zone of the extra host names that tenants of a development stack can have: it is outside the stack's domain, and nobody's. */
export const extraHostZone = "lobsterd.example";

/** A leaf with less than this left is made anew at the next start. */
const renewBeforeDays = 30;

export interface CredentialPaths {
  readonly certificatePath: string;
  readonly keyPath: string;
}

/** Paths of the instance's certificates. */
export function certificatePaths(instance: Instance) {
  const root = `${instance.stateDir}/certificates`;
  const leaf = (directory: string): CredentialPaths => ({
    certificatePath: `${root}/${directory}/certificate.pem`,
    keyPath: `${root}/${directory}/key.pem`,
  });
  return {
    root,
    platformCaPath: `${root}/platform-ca.pem`,
    platformCaKeyPath: `${root}/platform-ca-key.pem`,
    revocationsPath: `${root}/revocations.json`,
    /** Every leaf that was signed and has not expired, by serial number. */
    issuedPath: `${root}/issued.json`,
    /** Roles of clients, where some were issued or revoked since the first start. */
    clientRolesPath: `${root}/roles.json`,
    /** Digest of the certificate files of Caddy, which `proxy` cannot read: it changes when they do. */
    frontStampPath: `${root}/front.json`,
    guestCaPath: `${root}/guest-ca.pem`,
    // Signing guests is what `secrets` is for, so its key is that user's and not root's.
    guestCaKeyPath: `${root}/secrets/guest-ca-key.pem`,
    clientsCaPath: `${root}/clients-ca.pem`,
    // As the guest CA's; what it signs is a viewer or an owner and nothing else (ADR 0047).
    clientsCaKeyPath: `${root}/secrets/clients-ca-key.pem`,
    leaf,
    client: (name: ClientName) => leaf(`clients/${name}`),
  };
}

/** Every leaf that the platform CA signs. */
export function platformIdentities(domain: string, clients: readonly ClientName[] = clientNames): Identity[] {
  const local = { dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"] };
  return [
    ...serviceNames.map((name): Identity => {
      const request = { commonName: name, uri: `spiffe://${domain}/svc/${name}`, ...local };
      return { directory: name, owner: `lobsterd-${name}`, request: { ...request, usages: ["server", "client"] } };
    }),
    {
      directory: "nats",
      owner: "lobsterd-nats",
      request: { commonName: "nats", uri: `spiffe://${domain}/svc/nats`, ...local, usages: ["server"] },
    },
    {
      directory: "caddy",
      owner: "lobsterd-caddy",
      isOnlyRead: true,
      request: { commonName: "caddy", uri: `spiffe://${domain}/svc/caddy`, usages: ["client"] },
    },
    {
      directory: "web",
      owner: "lobsterd-caddy",
      isOnlyRead: true,
      request: { commonName: domain, dnsNames: [domain, `*.${domain}`, `*.${extraHostZone}`], usages: ["server"] },
    },
    {
      // Root's own tools, for what they write to the audit log.
      directory: "host",
      owner: "root",
      request: { commonName: "host", uri: `spiffe://${domain}/svc/host`, usages: ["client"] },
    },
    ...clients.map((name): Identity => {
      const request: LeafRequest = { commonName: name, uri: `spiffe://${domain}/client/${name}`, usages: ["client"] };
      return { directory: `clients/${name}`, owner: "root", request };
    }),
  ];
}

/** The roles file: a client that is not in it may call nothing. */
export function rolesOf(domain: string): Record<string, "operator" | "viewer"> {
  return { [`spiffe://${domain}/client/operator`]: "operator", [`spiffe://${domain}/client/viewer`]: "viewer" };
}

/**
 * Makes the authorities and leaves that are missing, about to expire, or without a name that they should have; with `all`, every leaf.
 * Returns what it made. Whoever uses a leaf goes on with the one before until it looks at the files again.
 */
export async function ensureIdentities(
  instance: Instance,
  accounts: Accounts,
  leaves: "due" | "all" = "due",
): Promise<string[]> {
  const paths = certificatePaths(instance);
  const made: string[] = [];
  if (!existsSync(paths.revocationsPath)) writePublic(paths.revocationsPath, "{}\n");
  const isHost = instance.name === hostInstanceName;
  const clients = clientNames.filter((name) => !isHost || name !== "stranger");
  const suffix = isHost ? "" : " (development)";
  const platform = await ensureAuthority(`lobsterd platform CA${suffix}`, paths.platformCaPath, {
    path: paths.platformCaKeyPath,
    owner: accounts.account("root"),
  });
  if (platform.made) made.push("platform CA");
  for (const { directory, owner, isOnlyRead, request } of platformIdentities(instance.domain, clients)) {
    const account = isOnlyRead ? { uid: 0, gid: accounts.account(owner).gid } : accounts.account(owner);
    const [fileMode, directoryMode] = isOnlyRead ? [0o640, 0o750] : [0o600, 0o700];
    const { certificatePath, keyPath } = paths.leaf(directory);
    if (leaves === "due" && !platform.made && isUsable(certificatePath, keyPath, request.dnsNames)) continue;
    if (directory.startsWith("clients/")) ensureDirectory(`${paths.root}/clients`, accounts.account("root"), 0o700);
    ensureDirectory(`${paths.root}/${directory}`, account, directoryMode);
    const leaf = await makeLeaf(platform.credential, request);
    const files = [
      { path: keyPath, content: leaf.keyPem },
      { path: certificatePath, content: leaf.certificatePem },
    ];
    noteIssued(paths, leaf.certificatePem);
    writePrivateTogether(files, account, fileMode);
    made.push(directory);
  }
  const guest = await ensureAuthority(`lobsterd guest CA${suffix}`, paths.guestCaPath, {
    path: paths.guestCaKeyPath,
    owner: accounts.account("lobsterd-secrets"),
  });
  if (guest.made) made.push("guest CA");
  const clientsCa = await ensureAuthority(`lobsterd clients CA${suffix}`, paths.clientsCaPath, {
    path: paths.clientsCaKeyPath,
    owner: accounts.account("lobsterd-secrets"),
  });
  if (clientsCa.made) made.push("clients CA");
  stampFront(paths);
  return made;
}

export const issuedSchema = z.record(z.string(), z.object({ uri: z.string(), expireTime: z.iso.datetime() }));

/** Notes a leaf before anybody has it, so that each one can be revoked; forgets what has expired. */
export function noteIssued({ issuedPath }: ReturnType<typeof certificatePaths>, certificatePem: string): void {
  const { serialNumber, subjectAltName = "", validToDate } = new X509Certificate(certificatePem);
  const known = existsSync(issuedPath) ? issuedSchema.parse(JSON.parse(readFileSync(issuedPath, "utf8"))) : {};
  const kept = Object.entries(known).filter(([, { expireTime }]) => new Date(expireTime) > new Date());
  const leaf = { uri: uriNames(subjectAltName)[0] ?? "", expireTime: validToDate.toISOString() };
  const all = { ...Object.fromEntries(kept), [serialNumber]: leaf };
  writePrivate(issuedPath, `${JSON.stringify(all, undefined, 2)}\n`, { uid: 0, gid: 0 }, 0o600);
}

/** After the files, so that whoever sees a new stamp finds them whole. */
function stampFront(paths: ReturnType<typeof certificatePaths>): void {
  const files = [paths.leaf("web").certificatePath, paths.leaf("caddy").certificatePath, paths.guestCaPath];
  const digest = createHash("sha256");
  for (const path of files) digest.update(readFileSync(path));
  writePublic(paths.frontStampPath, `${JSON.stringify(digest.digest("hex"))}\n`);
}

async function ensureAuthority(
  commonName: string,
  certificatePath: string,
  key: { readonly path: string; readonly owner: { readonly uid: number; readonly gid: number } },
): Promise<{ made: boolean; credential: Credential }> {
  if (isUsable(certificatePath, key.path)) {
    const credential = {
      certificatePem: readFileSync(certificatePath, "utf8"),
      keyPem: readFileSync(key.path, "utf8"),
    };
    return { made: false, credential };
  }
  const credential = await makeAuthority(commonName);
  writePrivate(key.path, credential.keyPem, key.owner, 0o600);
  writePublic(certificatePath, credential.certificatePem);
  return { made: true, credential };
}

function isUsable(certificatePath: string, keyPath: string, dnsNames: readonly string[] = []): boolean {
  if (!existsSync(certificatePath) || !existsSync(keyPath)) return false;
  const certificatePem = readFileSync(certificatePath, "utf8");
  const names = new X509Certificate(certificatePem).subjectAltName?.split(", ") ?? [];
  return isValidFor(certificatePem, renewBeforeDays) && dnsNames.every((name) => names.includes(`DNS:${name}`));
}
