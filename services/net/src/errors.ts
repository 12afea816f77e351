import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";

/** Everything this service refuses by itself. */
export const fail = defineErrors("net.lobsterd", {
  SLOT_OUT_OF_RANGE: Code.InvalidArgument,
  SLOT_TAKEN: Code.FailedPrecondition,
  VM_ATTACHED_ELSEWHERE: Code.AlreadyExists,
  SLOT_NOT_READY: Code.Unavailable,
  NETWORK_NOT_FOUND: Code.NotFound,
});
