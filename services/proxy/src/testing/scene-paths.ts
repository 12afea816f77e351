import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Authority, makeAuthority } from "./certificates.ts";

export const domain = "tenants.example";
/** What tenants may bring along; the front has a certificate for them. */
export const extraHosts = ["shop.example", "www.shop.example"] as const;
export const trustDomain = "platform.example";

/** Numbers that belong to nobody on the machine; a process needs no account to run with them. */
export const caddyUid = 63_101;
export const proxyUid = 63_102;
export const strangerUid = 63_103;

export type ScenePaths = ReturnType<typeof scenePaths>;

/** The part of an instance's layout that proxy and Caddy share, below `root`; the names below `memory`, a tmpfs as in an instance. */
export function scenePaths(root: string, memory: string) {
  const at = (name: string): string => join(root, name);
  return {
    adminDirectory: at("caddy-admin"),
    adminSocket: at("caddy-admin/admin.sock"),
    namesDirectory: join(memory, "names"),
    caddyDirectory: at("caddy"),
    httpsSocket: at("caddy/https.sock"),
    redirectSocket: at("caddy/redirect.sock"),
    initialCaddyConfig: at("caddy/initial.json"),
    webLeaf: { certificatePath: at("caddy/web.pem"), keyPath: at("caddy/web-key.pem") },
    shopLeaf: { certificatePath: at("caddy/shop.pem"), keyPath: at("caddy/shop-key.pem") },
    caddyLeaf: { certificatePath: at("caddy/client.pem"), keyPath: at("caddy/client-key.pem") },
    proxyDirectory: at("proxy"),
    wakeSocket: join(memory, "names/.wake.sock"),
    vmSocket: at("vm.sock"),
    auditSocket: at("audit.sock"),
    auditLeaf: { certificatePath: at("audit.pem"), keyPath: at("audit-key.pem") },
    rpcSocket: at("proxy/rpc.sock"),
    proxyConfig: at("proxy/config.json"),
    roles: at("proxy/roles.json"),
    revocations: at("proxy/revocations.json"),
    state: at("proxy/state"),
    proxyLeaf: { certificatePath: at("proxy/proxy.pem"), keyPath: at("proxy/proxy-key.pem") },
    vmLeaf: { certificatePath: at("vm.pem"), keyPath: at("vm-key.pem") },
    netLeaf: { certificatePath: at("net.pem"), keyPath: at("net-key.pem") },
    viewerLeaf: { certificatePath: at("viewer.pem"), keyPath: at("viewer-key.pem") },
    /** Says it is Caddy, by an authority that is not the platform's. */
    forgedCaddyLeaf: { certificatePath: at("forged.pem"), keyPath: at("forged-key.pem") },
    guestCa: at("guest-ca.pem"),
    platformCa: at("platform-ca.pem"),
    /** The platform's authority once more, where Caddy's user can read it. */
    platformCaForCaddy: at("caddy/platform-ca.pem"),
    acmeDirectory: at("acme"),
    acmeLeaf: { certificatePath: at("acme/acme.pem"), keyPath: at("acme/acme-key.pem") },
    guestPlan: at("guests.json"),
  };
}

/** Makes the directories with the owners and modes that the development runner gives them. */
export function makeSceneDirectories(roots: readonly string[], paths: ScenePaths): void {
  const make = (path: string, mode: number, uid: number, gid: number): void => {
    mkdirSync(path);
    chownSync(path, uid, gid);
    chmodSync(path, mode);
  };
  for (const root of roots) chmodSync(root, 0o711);
  make(paths.adminDirectory, 0o2750, caddyUid, proxyUid);
  make(paths.namesDirectory, 0o2710, proxyUid, caddyUid);
  make(paths.caddyDirectory, 0o700, caddyUid, caddyUid);
  make(paths.proxyDirectory, 0o700, proxyUid, proxyUid);
  make(paths.acmeDirectory, 0o700, 0, 0);
  make(paths.state, 0o700, proxyUid, proxyUid);
  const initial = { admin: { listen: `unix/${paths.adminSocket}`, config: { persist: false } } };
  writeOwned(paths.initialCaddyConfig, JSON.stringify(initial), caddyUid, 0o400);
}

export type Authorities = { readonly platform: Authority; readonly guest: Authority; readonly other: Authority };

/** Makes the authorities and every leaf of the scene but the guests'. */
export async function writeSceneCertificates(paths: ScenePaths): Promise<Authorities> {
  const platform = await makeAuthority("platform");
  const guest = await makeAuthority("guests");
  const other = await makeAuthority("somebody else");
  writeOwned(paths.platformCa, platform.certificatePem, 0, 0o644);
  writeOwned(paths.platformCaForCaddy, platform.certificatePem, caddyUid, 0o444);
  writeOwned(paths.guestCa, guest.certificatePem, 0, 0o644);
  const leaf = async (
    at: { certificatePath: string; keyPath: string },
    uid: number,
    name: string,
    names: Parameters<Authority["issue"]>[1],
    authority = platform,
  ): Promise<void> => {
    const issued = await authority.issue(name, names);
    writeOwned(at.certificatePath, issued.certificatePem, uid, 0o600);
    writeOwned(at.keyPath, issued.keyPem, uid, 0o600);
  };
  const identity = (name: string) => ({ type: "url", value: `spiffe://${trustDomain}/${name}` }) as const;
  const local = { type: "dns", value: "localhost" } as const;
  await leaf(paths.webLeaf, caddyUid, "web", [
    { type: "dns", value: domain },
    { type: "dns", value: `*.${domain}` },
  ]);
  await leaf(
    paths.shopLeaf,
    caddyUid,
    "shop",
    extraHosts.map((value) => ({ type: "dns", value })),
  );
  await leaf(paths.caddyLeaf, caddyUid, "caddy", [identity("svc/caddy")]);
  await leaf(paths.forgedCaddyLeaf, 0, "caddy", [identity("svc/caddy")], other);
  await leaf(paths.proxyLeaf, proxyUid, "proxy", [identity("svc/proxy"), local]);
  await leaf(paths.vmLeaf, 0, "vm", [identity("svc/vm"), local]);
  await leaf(paths.acmeLeaf, 0, "acme", [local]);
  await leaf(paths.auditLeaf, 0, "audit", [identity("svc/audit"), local]);
  await leaf(paths.netLeaf, 0, "net", [identity("svc/net")]);
  await leaf(paths.viewerLeaf, 0, "viewer", [identity("client/viewer")]);
  writeOwned(paths.roles, JSON.stringify({ [identity("client/viewer").value]: "viewer" }), proxyUid, 0o400);
  writeOwned(paths.revocations, "{}", proxyUid, 0o400);
  return { platform, guest, other };
}

/** Writes a file that is never readable by more than `mode` lets. */
export function writeOwned(path: string, text: string, uid: number, mode: number): void {
  writeFileSync(path, text, { mode });
  chmodSync(path, mode);
  chownSync(path, uid, uid);
}
