import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";

/** Every failure that `proxy` makes on purpose. */
export const fail = defineErrors("proxy.lobsterd", {
  ROUTE_NOT_FOUND: Code.NotFound,
  /** The generation is older than the published one, or the same one with another address. */
  STALE_GENERATION: Code.FailedPrecondition,
  /** The tenant's name leads to another microVM; that route has to be withdrawn first. */
  ROUTE_TAKEN: Code.FailedPrecondition,
  /** A host name of another tenant. */
  HOST_NAME_TAKEN: Code.FailedPrecondition,
  /** A host name under the platform's own domain, or one that never leaves a host. */
  HOST_NAME_RESERVED: Code.InvalidArgument,
  /** The address is outside the network that guests have. */
  NOT_A_GUEST_ADDRESS: Code.InvalidArgument,
});
