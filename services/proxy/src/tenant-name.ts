/** What a tenant may be called, as in the proto; without anchors, so that it can stand inside other patterns. */
export const tenantPattern = "[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?";

/** Zone that Caddy dials into; only `proxy`'s resolver answers for it, and it exists nowhere else. */
export const guestZone = "guest.internal";

const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";

/** A host name that a tenant brings along, as in the proto. It has no slash, no `*` and nothing else that means something in a path. */
export const extraHostPattern = `^(?:${label}\\.){1,8}[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$`;

/** Whether a name may belong to no single tenant: the platform's domain and all below it, and names that never leave a host. */
export function isReservedHostName(hostName: string, domain: string): boolean {
  return [domain, "internal", "localhost", "local"].some((zone) => hostName === zone || hostName.endsWith(`.${zone}`));
}

/**
 * Pattern of the host names in front, with the tenant as capture 1: `<tenant>.<domain>` and nothing else. Go's RE2 (Caddy)
 * and JavaScript read it alike: `$` without flags is the end of the text in both. Lower case only: host names compare
 * without case, but every browser sends them in lower case, and one spelling keeps one upstream pool per tenant.
 */
export function hostPattern(domain: string): string {
  return `^(${tenantPattern})\\.${domain.replaceAll(/[^a-z0-9-]/g, "\\$&")}$`;
}
