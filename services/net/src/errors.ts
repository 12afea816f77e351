import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";

/** Everything this service refuses by itself. */
export const fail = defineErrors("net.lobsterd", {
  SLOT_OUT_OF_RANGE: Code.ResourceExhausted,
  SLOT_QUARANTINED: Code.ResourceExhausted,
  CONNTRACK_TOO_SMALL: Code.ResourceExhausted,
  EGRESS_RANGE_DENIED: Code.InvalidArgument,
  SLOT_TAKEN: Code.FailedPrecondition,
  VM_ATTACHED_ELSEWHERE: Code.AlreadyExists,
  SLOT_NOT_READY: Code.Unavailable,
  USAGE_UNAVAILABLE: Code.Unimplemented,
  NETWORK_NOT_FOUND: Code.NotFound,
});

export function networkNotFound(vmId: string): Error {
  return fail("NETWORK_NOT_FOUND", `microVM ${vmId} has no network`, { metadata: { vm_id: vmId } });
}
