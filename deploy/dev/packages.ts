import { chmodSync, existsSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { run } from "./command.ts";

/**
 * Distribution packages that the stack needs on the machine. Caddy and NATS are not among them: their packages start a
 * daemon, so `debian-archive.ts` extracts the programs alone.
 */
export const machinePackages = [
  "ca-certificates",
  "conntrack",
  "e2fsprogs",
  "erofs-utils",
  "iproute2",
  "lz4",
  "mount",
  "nftables",
  "passwd",
  "procps",
  "qemu-system-x86",
  "util-linux",
] as const;

const installLimitMs = 8 * 60_000;
const policyPath = "/usr/sbin/policy-rc.d";
const savedPolicyPath = `${policyPath}.before-lobsterd`;

/** Installs what is missing of `packages`; takes tens of milliseconds if nothing is. Returns what it installed. */
export async function installPackages(
  packages: readonly string[],
  progress: (line: string) => void = () => undefined,
): Promise<string[]> {
  const missing = await missingPackages(packages);
  if (missing.length === 0) return [];
  progress(`installing packages: ${missing.join(" ")}`);
  if (!hasPackageLists()) await updatePackageLists(progress);
  await withoutDaemons(async () => {
    const install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", ...missing];
    const first = await apt(install, true);
    if (first.status === 0) return;
    // Lists from before a point release name files that the archive no longer has.
    await updatePackageLists(progress);
    await apt(install, false);
  });
  const still = await missingPackages(packages);
  if (still.length > 0) throw new Error(`apt-get did not install ${still.join(" ")}`);
  return missing;
}

/** Refreshes the machine's package lists. */
export async function updatePackageLists(progress: (line: string) => void): Promise<void> {
  progress("refreshing package lists");
  await apt(["apt-get", "update", "--quiet"], false);
}

/** One apt command that never asks a question and never restarts a service by itself. */
export function apt(argv: readonly string[], allowFailure: boolean, workingDirectory = "/") {
  return run(argv, {
    timeoutMs: installLimitMs,
    maxOutputBytes: 16 * 1024 * 1024,
    allowFailure,
    workingDirectory,
    environment: { DEBIAN_FRONTEND: "noninteractive", NEEDRESTART_SUSPEND: "1" },
  });
}

async function missingPackages(packages: readonly string[]): Promise<string[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: placeholders of dpkg-query
  const query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", ...packages];
  const { stdout } = await run(query, { allowFailure: true });
  const installed = new Set(
    stdout
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  return packages.filter((name) => !installed.has(name));
}

function hasPackageLists(): boolean {
  const directory = "/var/lib/apt/lists";
  return existsSync(directory) && readdirSync(directory).some((name) => name.includes("_Packages"));
}

/**
 * Runs `install` while a policy forbids maintainer scripts to start, stop or restart any service. A policy that is there
 * already is put aside and back; one put aside by a run that was killed is put back first.
 */
export async function withoutDaemons(
  install: () => Promise<void>,
  paths: { readonly policy: string; readonly saved: string } = { policy: policyPath, saved: savedPolicyPath },
): Promise<void> {
  restore(paths);
  if (existsSync(paths.policy)) renameSync(paths.policy, paths.saved);
  writeFileSync(paths.policy, "#!/bin/sh\nexit 101\n");
  chmodSync(paths.policy, 0o755);
  try {
    await install();
  } finally {
    rmSync(paths.policy, { force: true });
    restore(paths);
  }
}

function restore(paths: { readonly policy: string; readonly saved: string }): void {
  if (existsSync(paths.saved)) renameSync(paths.saved, paths.policy);
}
