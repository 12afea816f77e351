import { hostname } from "node:os";
import { dirname } from "node:path";
import { certificatePaths } from "./identities.ts";
import { type Instance, innerPorts, type ServiceName } from "./instance.ts";
import { uplink } from "./outside.ts";
import type { ProcessName } from "./processes.ts";
import type { Accounts } from "./users.ts";

/** The JSON that configures a process; `undefined` for one that has only its command line. */
export type Configuration = Readonly<Record<string, unknown>>;

/** Files that several configurations name. */
export function instanceFiles(instance: Instance) {
  return {
    rolesPath: `${instance.configDir}/roles.json`,
    checkpointKeyPath: `${instance.stateDir}/keys/audit-checkpoint.key`,
    checkpointVerifierPath: `${instance.stateDir}/keys/audit-checkpoint.verifier`,
    witnessDir: `${instance.stateDir}/audit-witness`,
    rootKeyPath: `${instance.stateDir}/keys/secrets/root.key`,
    shardsDir: `${instance.stateDir}/keys/secrets/tenants`,
    /** Certificates of clients that count, written by `secrets`. */
    clientListPath: `${instance.stateDir}/clients/certificates.json`,
    launcherSocketPath: `${instance.runDir}/vm-launcher/launcher.sock`,
    adminSocketPath: `${instance.runDir}/caddy-admin/admin.sock`,
    imagesDir: `${instance.stateDir}/images`,
    spoolDir: `${instance.runDir}/vm-spool`,
    namesDirectory: `${instance.runDir}/caddy-names`,
  };
}

/** Configuration of every process that reads one as JSON. */
export function configurations(instance: Instance, accounts: Accounts): Partial<Record<ProcessName, Configuration>> {
  return {
    vm: vmConfiguration(instance),
    "vm-launcher": launcherConfiguration(instance, accounts),
    net: netConfiguration(instance),
    proxy: proxyConfiguration(instance),
    secrets: secretsConfiguration(instance),
    audit: auditConfiguration(instance),
    caddy: caddyStart(instance),
  };
}

function common(instance: Instance, service: ServiceName): Configuration {
  const paths = certificatePaths(instance);
  return {
    service,
    hostId: hostIdOf(hostname(), instance.name),
    trustDomain: instance.domain,
    listen: { unixPath: rpcSocketPath(instance, service) },
    tls: { ...paths.leaf(service), platformCaPath: paths.platformCaPath },
    stateDir: `${instance.stateDir}/${service}`,
    rolesPath: instanceFiles(instance).rolesPath,
    revocationsPath: paths.revocationsPath,
    clients: { caPath: paths.clientsCaPath, listPath: instanceFiles(instance).clientListPath },
    events: { servers: [`127.0.0.1:${innerPorts.nats}`] },
  };
}

function vmConfiguration(instance: Instance): Configuration {
  const files = instanceFiles(instance);
  return {
    ...common(instance, "vm"),
    domain: instance.domain,
    mode: "development",
    // Who works or tests here says when a tenant is to sleep: one that falls asleep between two steps of a story is nobody's wish.
    defaultIdleMode: "manual",
    rootKey: { keyDir: dirname(files.rootKeyPath), storeDir: `${instance.stateDir}/secrets` },
    publicHttpsPort: instance.ports.https,
    imagesDir: files.imagesDir,
    launcherSocketPath: files.launcherSocketPath,
    spoolDir: files.spoolDir,
    guestCaPath: certificatePaths(instance).guestCaPath,
    slotCount: instance.slotCount,
    peers: {
      audit: rpcSocketPath(instance, "audit"),
      net: rpcSocketPath(instance, "net"),
      proxy: rpcSocketPath(instance, "proxy"),
      secrets: rpcSocketPath(instance, "secrets"),
    },
  };
}

function netConfiguration(instance: Instance): Configuration {
  return {
    ...common(instance, "net"),
    netnsDir: `${instance.runDir}/netns`,
    slotCount: instance.slotCount,
    jailUidBase: instance.firstJailUid,
    peers: { audit: rpcSocketPath(instance, "audit") },
    uplinkInterface: uplink.link,
    resolverAddresses: [uplink.resolverAddress],
  };
}

function proxyConfiguration(instance: Instance): Configuration {
  const paths = certificatePaths(instance);
  const files = instanceFiles(instance);
  const client = paths.leaf("caddy");
  return {
    ...common(instance, "proxy"),
    domain: instance.domain,
    namesDirectory: files.namesDirectory,
    peers: { audit: rpcSocketPath(instance, "audit"), vm: rpcSocketPath(instance, "vm") },
    caddy: {
      adminSocketPath: files.adminSocketPath,
      httpsListen: [`:${innerPorts.https}`],
      redirectListen: [`:${innerPorts.http}`],
      publicHttpsPort: instance.ports.https,
      certificates: { kind: "files", pairs: [paths.leaf("web")] },
      guestCaPath: paths.guestCaPath,
      clientCertificatePath: client.certificatePath,
      clientKeyPath: client.keyPath,
      certificatesStampPath: paths.frontStampPath,
    },
  };
}

function secretsConfiguration(instance: Instance): Configuration {
  const paths = certificatePaths(instance);
  const files = instanceFiles(instance);
  return {
    ...common(instance, "secrets"),
    domain: instance.domain,
    rootKey: { kind: "file", path: files.rootKeyPath, shardsDir: files.shardsDir },
    guestCaCertificatePath: paths.guestCaPath,
    guestCaKeyPath: paths.guestCaKeyPath,
    clientsCaKeyPath: paths.clientsCaKeyPath,
    peers: { audit: rpcSocketPath(instance, "audit") },
  };
}

/** On one machine the witness can only be a directory of it: it shows how, and protects against nobody who owns the machine. */
function auditConfiguration(instance: Instance): Configuration {
  const { checkpointKeyPath, witnessDir } = instanceFiles(instance);
  return { ...common(instance, "audit"), checkpointKeyPath, witness: { directory: witnessDir } };
}

function launcherConfiguration(instance: Instance, accounts: Accounts): Configuration {
  const files = instanceFiles(instance);
  return {
    instance: instance.name,
    runDir: instance.runDir,
    stateDir: instance.stateDir,
    imagesDir: files.imagesDir,
    uidBase: instance.firstJailUid,
    slotCount: instance.slotCount,
    cgroupParent: instance.cgroup,
    socketPath: files.launcherSocketPath,
    socketGroupId: accounts.account("lobsterd-vm").gid,
    // Tests and benchmarks must mean the same on every machine; who works with `make up` gets the best that the machine has.
    vmm: instance.name === "dev" ? { kind: "auto", accelerator: "auto" } : { kind: "qemu", accelerator: "tcg" },
  };
}

/**
 * What Caddy starts with: the admin socket and nothing else, until `proxy` loads the rest. Without this block Caddy would
 * open its admin API on TCP port 2019, without authentication.
 */
function caddyStart(instance: Instance): Configuration {
  return { admin: { listen: `unix/${instanceFiles(instance).adminSocketPath}`, config: { persist: false } } };
}

export function rpcSocketPath(instance: Instance, service: ServiceName): string {
  return `${instance.runDir}/${service}/rpc.sock`;
}

/** A stable name of this host for one instance, in the form that services accept. */
export function hostIdOf(machine: string, instanceName: string): string {
  const name = machine.toLowerCase().replaceAll(/[^a-z0-9.-]/g, "-");
  return `${name.replace(/^[^a-z0-9]+/, "").slice(0, 50) || "host"}-${instanceName}`;
}
