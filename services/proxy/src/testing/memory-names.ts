import type { NameFiles } from "../directory/name-files.ts";

/** Names in memory, as Caddy would see them. */
export function memoryNames(): NameFiles & {
  readonly present: Set<string>;
  readonly hosts: Map<string, string>;
  readonly asleep: Set<string>;
} {
  const present = new Set<string>();
  const hosts = new Map<string, string>();
  const asleep = new Set<string>();
  return {
    present,
    hosts,
    asleep,
    add: (tenant) => void present.add(tenant),
    remove: (tenant) => void present.delete(tenant),
    list: () => [...present].sort(),
    addHost: ({ hostName, tenant }) => void hosts.set(hostName, tenant),
    removeHost: (hostName) => void hosts.delete(hostName),
    listHosts: () => [...hosts].map(([hostName, tenant]) => ({ hostName, tenant })),
    markAsleep: (tenant) => void asleep.add(tenant),
    markAwake: (tenant) => void asleep.delete(tenant),
    listAsleep: () => [...asleep].sort(),
  };
}
