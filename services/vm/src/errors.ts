import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";

/** The closed set of failures of `vm`. */
export const fail = defineErrors("vm.lobsterd", {
  TENANT_EXISTS: Code.AlreadyExists,
  TENANT_NOT_FOUND: Code.NotFound,
  TENANT_BUSY: Code.Aborted,
  UNKNOWN_IMAGE: Code.InvalidArgument,
  RESOURCES_OUT_OF_RANGE: Code.InvalidArgument,
  NO_FREE_SLOT: Code.ResourceExhausted,
  BOOT_QUEUE_FULL: Code.ResourceExhausted,
  SPAWN_LIMIT_EXCEEDED: Code.DeadlineExceeded,
  SPAWN_CANCELLED: Code.Aborted,
  BOOT_FAILED: Code.Unavailable,
  WORKLOAD_FAILED: Code.Unavailable,
  GUEST_MISBEHAVED: Code.Unavailable,
  EVICTION_INCOMPLETE: Code.Unavailable,
});
