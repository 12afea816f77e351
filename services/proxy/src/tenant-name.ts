/** What a tenant may be called, as in the proto; without anchors, so that it can stand inside other patterns. */
export const tenantPattern = "[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?";

/** Zone that Caddy dials into; only `proxy`'s resolver answers for it, and it exists nowhere else. */
export const guestZone = "guest.internal";

/**
 * Pattern of the host names in front, with the tenant as capture 1: `<tenant>.<domain>` and nothing else. Go's RE2 (Caddy)
 * and JavaScript read it alike: `$` without flags is the end of the text in both. Lower case only: host names compare
 * without case, but every browser sends them in lower case, and one spelling keeps one upstream pool per tenant.
 */
export function hostPattern(domain: string): string {
  return `^(${tenantPattern})\\.${domain.replaceAll(/[^a-z0-9-]/g, "\\$&")}$`;
}
