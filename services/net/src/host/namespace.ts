import { existsSync } from "node:fs";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import type { Argv, ProcessRunner } from "./process.ts";

const maxStackedMounts = 16;

/** Values by name, as sysctl.conf names them. */
type Settings = Readonly<Record<string, number>>;

const withoutIpv6: Settings = { "net.ipv6.conf.all.disable_ipv6": 1, "net.ipv6.conf.default.disable_ipv6": 1 };
const forwarding: Settings = { "net.ipv4.ip_forward": 1 };
/**
 * HOST-05, in seconds. An established connection without a packet for an hour is forgotten, instead of after five days. A
 * closed one is not counted against a guest's limit but stays in the table for two minutes, so that one guest could fill
 * it with 24,000 at the allowed rate of 200 per second; it is forgotten at once.
 */
export const establishedTimeoutSeconds = 3600;
const connectionTimeouts: Settings = {
  "net.netfilter.nf_conntrack_tcp_timeout_established": establishedTimeoutSeconds,
  "net.netfilter.nf_conntrack_tcp_timeout_time_wait": 1,
  "net.netfilter.nf_conntrack_tcp_timeout_close": 1,
};

/**
 * Makes an empty network namespace and binds it to a new file at `path`. IPv6 is off in it, for every link that will ever
 * be there, before there is one; IPv4 forwarding is on. Throws if the file exists.
 */
export async function createNamespace(runner: ProcessRunner, path: string): Promise<void> {
  await create(runner, path, {});
}

/** Runs `work` in an empty namespace that exists only for that; its file is `path`. */
export async function inScratchNamespace<T>(
  runner: ProcessRunner,
  path: string,
  work: (scratch: ProcessRunner) => Promise<T>,
): Promise<T> {
  await removeNamespaces(runner, [path]);
  await createNamespace(runner, path);
  try {
    return await work(runner.within(path));
  } finally {
    await removeNamespaces(runner, [path]);
  }
}

/** `createNamespace` for a slot: connections expire in it. Connection tracking must be loaded, which any rule that needs it does. */
export async function createSlotNamespace(runner: ProcessRunner, path: string): Promise<void> {
  await create(runner, path, connectionTimeouts);
}

async function create(runner: ProcessRunner, path: string, further: Settings): Promise<void> {
  await writeFile(path, "", { flag: "wx", mode: 0o444 });
  // sysctl runs inside the new namespace, where /proc/sys/net is that namespace's own.
  const settings = { ...(hasIpv6() ? withoutIpv6 : {}), ...forwarding, ...further };
  await runner.run(["unshare", `--net=${path}`, "--", ...writing(settings)]);
}

/** Turns IPv6 off on links of the runner's namespace, which must still be down. */
export async function disableIpv6(runner: ProcessRunner, links: readonly string[]): Promise<void> {
  if (links.length === 0 || !hasIpv6()) return;
  await runner.run(writing(Object.fromEntries(links.map((link) => [`net.ipv6.conf.${link}.disable_ipv6`, 1]))));
}

/** Lets the runner's namespace forward IPv4 packets. */
export async function enableForwarding(runner: ProcessRunner): Promise<void> {
  await runner.run(writing(forwarding));
}

/** HOST-05, in the runner's namespace. */
export async function expireConnections(runner: ProcessRunner): Promise<void> {
  await runner.run(writing(connectionTimeouts));
}

// Ends with a status other than 0 if any of them is unknown or refused.
function writing(settings: Settings): Argv {
  return ["sysctl", "--quiet", "--write", ...Object.entries(settings).map(([name, value]) => `${name}=${value}`)];
}

/**
 * Unbinds and removes namespaces' files; a namespace itself lives on while a process is in it. Safe to repeat. More than
 * one mount can be stacked on a file after a crash between binding and recording.
 */
export async function removeNamespaces(runner: ProcessRunner, paths: readonly string[]): Promise<void> {
  const present = paths.filter((path) => existsSync(path));
  if (present.length === 0) return;
  for (let depth = 0; ; depth += 1) {
    const mounted = await mountedNamespaces();
    const bound = present.filter((path) => mounted.has(path));
    if (bound.length === 0) break;
    if (depth === maxStackedMounts) throw new Error(`${bound[0]} is still a mount point`);
    await runner.run(["umount", "--lazy", ...bound]);
  }
  await Promise.all(present.map((path) => rm(path, { force: true })));
}

/** Files that a namespace is bound to, seen from this process's mount namespace. */
export async function mountedNamespaces(): Promise<ReadonlySet<string>> {
  const table = await readFile("/proc/self/mountinfo", "utf8");
  const mounted = new Set<string>();
  for (const line of table.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const target = before.split(" ")[4];
    if (after.startsWith("nsfs ") && target !== undefined) mounted.add(unescapePath(target));
  }
  return mounted;
}

/** Names in the directory of namespace files. */
export async function namespaceFiles(directory: string): Promise<string[]> {
  return await readdir(directory);
}

/** A kernel booted with ipv6.disable=1 has neither IPv6 nor its switches. */
export function hasIpv6(): boolean {
  return existsSync("/proc/sys/net/ipv6");
}

// The kernel writes space, tab, newline and backslash as three octal digits.
function unescapePath(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
