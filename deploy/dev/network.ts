import { existsSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { run } from "./command.ts";
import type { Instance } from "./instance.ts";

/**
 * Settings of the instance's namespace. The namespace has no link to the machine, so they bear on nothing else. No IPv6:
 * guests get none, and what is off needs no rule.
 */
const settings = [
  "net.ipv4.ip_forward=1",
  "net.ipv4.conf.all.accept_redirects=0",
  "net.ipv4.conf.default.accept_redirects=0",
  "net.ipv4.conf.all.send_redirects=0",
  "net.ipv4.conf.default.send_redirects=0",
  "net.ipv4.conf.all.accept_source_route=0",
  "net.ipv4.conf.default.accept_source_route=0",
  "net.ipv6.conf.all.disable_ipv6=1",
  "net.ipv6.conf.default.disable_ipv6=1",
];

/** Makes the network namespace of the instance with nothing in it but loopback. Safe to repeat. */
export async function ensureNamespace(instance: Instance): Promise<void> {
  if (!existsSync(instance.netnsPath)) await run(["ip", "netns", "add", instance.netns]);
  await run(["ip", "-netns", instance.netns, "link", "set", "lo", "up"]);
  await run(["nsenter", `--net=${instance.netnsPath}`, "--", "sysctl", "--quiet", "--write", ...settings]);
}

/** Removes the namespace; links and rules inside vanish with it once no process is left there. Safe to repeat. */
export async function removeNamespace(instance: Instance): Promise<void> {
  if (existsSync(instance.netnsPath)) await run(["ip", "netns", "delete", instance.netns]);
}

/** Pids of every process whose network namespace is the one that the file `path` holds. */
export function processesInNamespace(path: string): number[] {
  if (!existsSync(path)) return [];
  const name = `net:[${statSync(path).ino}]`;
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => namespaceOf(pid) === name);
}

function namespaceOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    // The process ended while the list was read, or is a kernel thread.
    return undefined;
  }
}
