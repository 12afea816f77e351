import { chmodSync, copyFileSync, mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { ensureDirectory, writePrivate } from "./files.ts";
import { type ClientName, type CredentialPaths, certificatePaths, clientNames } from "./identities.ts";
import { type Instance, serviceNames } from "./instance.ts";

const root = { uid: 0, gid: 0 };

/** Directory beside the environment file that holds copies of the CA and of the clients' certificates, for root. */
function clientDir(instance: Instance): string {
  return `${instance.checkout}/.run/${instance.name}`;
}

/** A client's certificate and key as callers on the machine read them. */
export function clientPaths(instance: Instance, name: ClientName): CredentialPaths {
  return { certificatePath: `${clientDir(instance)}/${name}.pem`, keyPath: `${clientDir(instance)}/${name}-key.pem` };
}

/** The platform CA as callers on the machine read it: it verifies the services and the HTTPS front. */
export function clientCaPath(instance: Instance): string {
  return `${clientDir(instance)}/ca.pem`;
}

/** The variables that clients of the instance need. */
export function clientEnvironment(instance: Instance): Record<string, string> {
  const operator = clientPaths(instance, "operator");
  const address = (port: number): string => `localhost:${port}`;
  const { ports } = instance;
  const services = serviceNames
    .filter((name) => name !== "vm")
    .map((name) => [`LOBSTERD_GRPC_${name.toUpperCase()}`, address(ports[name])]);
  return {
    LOBSTERD_GRPC: address(ports.vm),
    ...Object.fromEntries(services),
    LOBSTERD_HTTPS: `127.0.0.1:${ports.https}`,
    LOBSTERD_DOMAIN: instance.domain,
    LOBSTERD_CA: clientCaPath(instance),
    LOBSTERD_CERT: operator.certificatePath,
    LOBSTERD_KEY: operator.keyPath,
    LOBSTERD_NETNS: instance.netns,
    LOBSTERD_OUTSIDE_NETNS: instance.outsideNetns,
    LOBSTERD_RUN_DIR: instance.runDir,
    LOBSTERD_STATE_DIR: instance.stateDir,
    LOBSTERD_TRACES: `http://127.0.0.1:${ports.traces}`,
  };
}

/** The environment file: one `export NAME='value'` a line. */
export function environmentText(environment: Readonly<Record<string, string>>): string {
  const quote = (value: string): string => `'${value.replaceAll("'", "'\\''")}'`;
  return Object.entries(environment)
    .map(([name, value]) => `export ${name}=${quote(value)}\n`)
    .join("");
}

/** Writes the environment file and the certificates that it names. */
export function writeEnvironment(instance: Instance): void {
  mkdirSync(dirname(instance.environmentPath), { recursive: true, mode: 0o755 });
  ensureDirectory(clientDir(instance), root, 0o700);
  const paths = certificatePaths(instance);
  const copy = (from: string, to: string): void => {
    copyFileSync(from, to);
    chmodSync(to, 0o600);
  };
  copy(paths.platformCaPath, clientCaPath(instance));
  for (const name of clientNames) {
    const [from, to] = [paths.client(name), clientPaths(instance, name)];
    copy(from.keyPath, to.keyPath);
    copy(from.certificatePath, to.certificatePath);
  }
  writePrivate(instance.environmentPath, environmentText(clientEnvironment(instance)), root, 0o644);
}

export function removeEnvironment(instance: Instance): void {
  rmSync(instance.environmentPath, { force: true });
  rmSync(clientDir(instance), { recursive: true, force: true });
}
