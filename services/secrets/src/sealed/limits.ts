import { fail } from "../errors.ts";

/** Secrets one tenant can have. */
export const maxSecrets = 64;

/** Secrets one tenant can have bound: an injection carries at most 64 and the gateway's token is one of them. */
export const maxBoundSecrets = 63;

/** Bytes of all of a tenant's values, boxes included: an injection is one message, and the agent takes 1 MiB. */
export const maxBoxBytes = 960 * 1024;

/** The gateway's token travels among the secrets under this name. */
export const gatewayTokenName = "gateway-token";

/** Throws RESERVED_NAME for the name that the platform uses itself. */
export function refuseReserved(name: string): void {
  if (name !== gatewayTokenName) return;
  throw fail("RESERVED_NAME", `${gatewayTokenName} is the platform's own name`, { metadata: { field: "name" } });
}
