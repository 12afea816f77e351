import { chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { bootFaults, machineFacts } from "./boot-checks.ts";
import { mixEntropy } from "./entropy.ts";
import { type Identity, parseIdentity } from "./identity.ts";
import { resolvConf } from "./resolv-conf.ts";
import type { WorkloadManifest } from "./workload-manifest.ts";

const identityPath = "/run/lobsterd-agent/identity.json";
/** The kernel's uptime when init had waited for the identity; absent when it had not to. */
const wokenAtPath = "/run/lobsterd-agent/woken-at";
const resolversPath = "/etc/resolv.conf";
const manifestPath = "/opt/agent/workload.json";

/** Throws, naming every fault, when the kernel or a mount is not as the image's init promises. */
export function checkMachine(): void {
  const faults = bootFaults(machineFacts());
  if (faults.length > 0) throw new Error(`this guest is not hardened: ${faults.join("; ")}`);
}

/**
 * Reads who this guest is, removes the file and mixes the host's seed into the kernel's entropy pool. Throws when the identity is not
 * whole.
 */
export function readIdentity(): Identity {
  const identity = parseIdentity(readFileSync(identityPath, "utf8"));
  // From here on the key is in this process only.
  rmSync(identityPath);
  mixEntropy(identity.seed);
  return identity;
}

export function readWorkloadManifest(): WorkloadManifest {
  return JSON.parse(readFileSync(manifestPath, "utf8")) as WorkloadManifest;
}

/** Tells every program of the guest which DNS servers it reaches. Written at each boot: the file lasts on the tenant's disk. */
export function writeResolvers(identity: Identity): void {
  // Whatever an earlier life of this disk left there, a link or a directory too.
  rmSync(resolversPath, { recursive: true, force: true });
  writeFileSync(resolversPath, resolvConf(identity.resolvers), { mode: 0o644, flag: "wx" });
}

/** Gives the workload's user its home on the tenant's disk and what it may know of its guest. */
export function prepareWorkload(identity: Identity, manifest: WorkloadManifest): void {
  const { uid, gid } = manifest.user;
  // The image's files all belong to root; this one change is made on the overlay, where it lasts.
  if (manifest.environment.HOME !== undefined) chownSync(manifest.environment.HOME, uid, gid);
  const path = manifest.configurationPath;
  mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o755 });
  const { tenant, vmId, generation } = identity;
  writeFileSync(path, `${JSON.stringify({ tenant, vmId, generation })}\n`, { mode: 0o444 });
}

/** Milliseconds since this guest began: its kernel, or its life after a template. Whatever its wall clock says. */
export function guestAgeMs(): number {
  const seconds = (path: string) => Number.parseFloat(readFileSync(path, "latin1"));
  return (seconds("/proc/uptime") - (existsSync(wokenAtPath) ? seconds(wokenAtPath) : 0)) * 1000;
}
