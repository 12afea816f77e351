import type { GuestName } from "../store/identity-store.ts";

/** The URI that a guest proves: `spiffe://<trustDomain>/guest/<tenant>/<vmId>/<generation>`. */
export function guestUri(trustDomain: string, name: GuestName): string {
  return `spiffe://${trustDomain}/guest/${name.tenant}/${name.vmId}/${name.generation}`;
}

/** The names a guest is dialled and asked by: inside by Caddy, outside by people. */
export function guestHostNames(domain: string, tenant: string): [string, string] {
  return [`${tenant}.guest.internal`, `${tenant}.${domain}`];
}
