import type { NameFiles } from "../directory/name-files.ts";

/** Names in memory, as Caddy would see them. */
export function memoryNames(): NameFiles & { readonly present: Set<string>; readonly hosts: Map<string, string> } {
  const present = new Set<string>();
  const hosts = new Map<string, string>();
  return {
    present,
    hosts,
    add: (tenant) => void present.add(tenant),
    remove: (tenant) => void present.delete(tenant),
    list: () => [...present].sort(),
    addHost: ({ hostName, tenant }) => void hosts.set(hostName, tenant),
    removeHost: (hostName) => void hosts.delete(hostName),
    listHosts: () => [...hosts].map(([hostName, tenant]) => ({ hostName, tenant })),
  };
}
