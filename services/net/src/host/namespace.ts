import { existsSync } from "node:fs";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import type { ProcessRunner } from "./process.ts";

const maxStackedMounts = 16;

const ipv6Switches = ["/proc/sys/net/ipv6/conf/all/disable_ipv6", "/proc/sys/net/ipv6/conf/default/disable_ipv6"];
const forwardingSwitch = "/proc/sys/net/ipv4/ip_forward";

/**
 * Makes an empty network namespace and binds it to a new file at `path`. IPv6 is off in it, for every link that will ever
 * be there, before there is one; IPv4 forwarding is on. Throws if the file exists.
 */
export async function createNamespace(runner: ProcessRunner, path: string): Promise<void> {
  await writeFile(path, "", { flag: "wx", mode: 0o444 });
  // tee runs inside the new namespace, where /proc/sys/net is that namespace's own.
  await runner.run(["unshare", `--net=${path}`, "--", "tee", ...switches()], { input: "1\n" });
}

/** Turns IPv6 off on links of the runner's namespace, which must still be down. */
export async function disableIpv6(runner: ProcessRunner, links: readonly string[]): Promise<void> {
  if (links.length === 0 || !hasIpv6()) return;
  const paths = links.map((link) => `/proc/sys/net/ipv6/conf/${link}/disable_ipv6`);
  await runner.run(["tee", ...paths], { input: "1\n" });
}

/** Lets the runner's namespace forward IPv4 packets. */
export async function enableForwarding(runner: ProcessRunner): Promise<void> {
  await runner.run(["tee", forwardingSwitch], { input: "1\n" });
}

/** HOST-05: in the runner's namespace an established connection without a packet for an hour is forgotten, instead of after five days. */
export async function expireIdleConnections(runner: ProcessRunner): Promise<void> {
  await runner.run(["tee", "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"], { input: "3600\n" });
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

function switches(): string[] {
  return hasIpv6() ? [...ipv6Switches, forwardingSwitch] : [forwardingSwitch];
}

/** A kernel booted with ipv6.disable=1 has neither IPv6 nor its switches. */
export function hasIpv6(): boolean {
  return existsSync("/proc/sys/net/ipv6");
}

// The kernel writes space, tab, newline and backslash as three octal digits.
function unescapePath(path: string): string {
  return path.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
