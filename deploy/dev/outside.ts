import { existsSync } from "node:fs";
import { run } from "./command.ts";
import type { Instance } from "./instance.ts";

/**
 * Addresses between an instance and what stands for the internet there. The range is a public one, because guests reach no
 * other; its owner never sees a packet, because the namespaces have no link to the machine. Instances may share it: they
 * have namespaces of their own.
 */
export const uplink = {
  /** The instance's end, which `net` masquerades guests behind. */
  link: "up0",
  address: "45.0.0.1",
  outsideLink: "eth0",
  outsideAddress: "45.0.0.2",
  prefixLength: 24,
  /** DNS server that guests are told of. Nothing answers there until a test gives `outsideLink` the address. */
  resolverAddress: "45.0.0.53",
} as const;

/**
 * Settings of the outside. It forwards nothing, and it may see any source address: it is where attacks come from and where
 * packets that should not have left are caught.
 */
const settings = [
  "net.ipv4.ip_forward=0",
  "net.ipv4.conf.all.rp_filter=0",
  "net.ipv4.conf.default.rp_filter=0",
  "net.ipv6.conf.all.disable_ipv6=1",
  "net.ipv6.conf.default.disable_ipv6=1",
];

/**
 * Makes the namespace that stands for the internet, and the link to it, which is the instance's default route. Nothing
 * listens there. The instance's namespace exists. Safe to repeat: a pair of links is there whole or not at all.
 */
export async function ensureOutside(instance: Instance): Promise<void> {
  const { netns, outsideNetns, outsideNetnsPath } = instance;
  if (!existsSync(outsideNetnsPath)) await run(["ip", "netns", "add", outsideNetns]);
  // Before the link: a link that comes up with IPv6 has sent packets by the time it is switched off.
  await run(["nsenter", `--net=${outsideNetnsPath}`, "--", "sysctl", "--quiet", "--write", ...settings]);
  const { link, address, outsideLink, outsideAddress, prefixLength } = uplink;
  const inside = ["ip", "-netns", netns];
  const outside = ["ip", "-netns", outsideNetns];
  const present = await run([...inside, "link", "show", "dev", link], { allowFailure: true });
  if (present.status !== 0) {
    await run([...inside, "link", "add", link, "type", "veth", "peer", "name", outsideLink, "netns", outsideNetns]);
  }
  await run([...inside, "address", "replace", `${address}/${prefixLength}`, "dev", link]);
  await run([...outside, "address", "replace", `${outsideAddress}/${prefixLength}`, "dev", outsideLink]);
  await run([...outside, "link", "set", "lo", "up"]);
  await run([...outside, "link", "set", outsideLink, "up"]);
  await run([...inside, "link", "set", link, "up"]);
  await run([...inside, "route", "replace", "default", "via", outsideAddress]);
}

/** Removes the namespace, and with it both ends of the link, once no process is left there. Safe to repeat. */
export async function removeOutside(instance: Instance): Promise<void> {
  if (existsSync(instance.outsideNetnsPath)) await run(["ip", "netns", "delete", instance.outsideNetns]);
}
