import { type ChildProcess, execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const execute = promisify(execFile);
const limits = { timeout: 60_000, maxBuffer: 1024 * 1024 };
const extracted = fileURLToPath(new URL("../../../../.cache/debian/root/usr/bin/caddy", import.meta.url));

/** Runs a program to its end; throws with its standard error if it fails. */
export async function run(command: string, ...parameters: string[]): Promise<string> {
  const { stdout } = await execute(command, parameters, limits);
  return stdout;
}

/**
 * Debian's Caddy: as the development runner extracted it, else the machine's own, else fetched from Debian into a
 * temporary directory. `undefined` if it cannot be had; then `reason` says why.
 */
export async function findCaddy(): Promise<{ path: string } | { reason: string }> {
  if (process.getuid?.() !== 0) return { reason: "needs root for network namespaces" };
  const path = [extracted, "/usr/bin/caddy", "/usr/local/bin/caddy"].find((candidate) => existsSync(candidate));
  if (path !== undefined) return { path };
  const directory = mkdtempSync(join(tmpdir(), "lobsterd-caddy-"));
  try {
    await execute("apt-get", ["download", "caddy"], { ...limits, cwd: directory });
    const archive = readdirSync(directory).find((name) => name.endsWith(".deb"));
    if (archive === undefined) return { reason: "apt-get download left no package" };
    await run("dpkg-deb", "-x", join(directory, archive), directory);
    return { path: join(directory, "usr/bin/caddy") };
  } catch (error) {
    return {
      reason: `caddy is not installed and cannot be fetched: ${error instanceof Error ? error.message : error}`,
    };
  }
}

/** Ends a process and waits until it is gone. */
export async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await gone;
}

/** The `setpriv` prefix of a process with this user, group and capabilities, and nothing else. */
export function asUser(uid: number, gid: number, capabilities: readonly string[] = []): string[] {
  const set = ["-all", ...capabilities.map((name) => `+${name}`)].join(",");
  return [
    ...["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"],
    ...[`--inh-caps=${set}`, `--ambient-caps=${set}`, `--bounding-set=${set}`, "--no-new-privs", "--"],
  ];
}
