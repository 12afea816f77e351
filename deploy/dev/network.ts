import { existsSync, readlinkSync, statSync } from "node:fs";
import { run } from "./command.ts";
import type { Instance } from "./instance.ts";
import { ensureOutside, removeOutside } from "./outside.ts";
import { listPids } from "./proc.ts";

/**
 * Settings of the instance's namespace. The namespace has no link to the machine, so they bear on nothing else; all that
 * matter are set, because a new namespace starts with the machine's. From outside, an address counts only on the link that
 * has it, loopback is never reached, and no source is believed that would be answered by another link. No IPv6: guests get
 * none, and what is off needs no rule.
 */
const settings = [
  "net.ipv4.ip_forward=1",
  "net.ipv4.conf.all.accept_redirects=0",
  "net.ipv4.conf.default.accept_redirects=0",
  "net.ipv4.conf.all.send_redirects=0",
  "net.ipv4.conf.default.send_redirects=0",
  "net.ipv4.conf.all.accept_source_route=0",
  "net.ipv4.conf.default.accept_source_route=0",
  "net.ipv4.conf.all.rp_filter=1",
  "net.ipv4.conf.default.rp_filter=1",
  "net.ipv4.conf.all.arp_ignore=1",
  "net.ipv4.conf.default.arp_ignore=1",
  "net.ipv4.conf.all.route_localnet=0",
  "net.ipv4.conf.default.route_localnet=0",
  "net.ipv6.conf.all.disable_ipv6=1",
  "net.ipv6.conf.default.disable_ipv6=1",
];

/** Makes the network namespace of the instance with loopback and the link to the outside. Safe to repeat. */
export async function ensureNamespace(instance: Instance): Promise<void> {
  if (!existsSync(instance.netnsPath)) await run(["ip", "netns", "add", instance.netns]);
  await run(["ip", "-netns", instance.netns, "link", "set", "lo", "up"]);
  await run(["nsenter", `--net=${instance.netnsPath}`, "--", "sysctl", "--quiet", "--write", ...settings]);
  await ensureOutside(instance);
}

/** Removes both namespaces; links and rules inside vanish with them once no process is left there. Safe to repeat. */
export async function removeNamespace(instance: Instance): Promise<void> {
  await removeOutside(instance);
  if (existsSync(instance.netnsPath)) await run(["ip", "netns", "delete", instance.netns]);
}

/** Pids of every process whose network namespace is one that the files `paths` hold. */
export function processesInNamespaces(paths: readonly string[]): number[] {
  const names = new Set(paths.filter((path) => existsSync(path)).map((path) => `net:[${statSync(path).ino}]`));
  return listPids().filter((pid) => names.has(namespaceOf(pid) ?? ""));
}

function namespaceOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    // The process ended while the list was read, or is a kernel thread.
    return undefined;
  }
}
