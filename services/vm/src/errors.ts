import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";

/** What whoever names a tenant that does not exist is answered, and an owner who names one that is somebody else's. */
export function tenantNotFound(name: string): Error {
  return fail("TENANT_NOT_FOUND", `there is no tenant ${name}`, { metadata: { tenant: name } });
}

/** The closed set of failures of `vm`. A boot that failed is not UNAVAILABLE: a retry policy would boot it again and again. */
export const fail = defineErrors("vm.lobsterd", {
  TENANT_EXISTS: Code.AlreadyExists,
  TENANT_NOT_FOUND: Code.NotFound,
  TENANT_NOT_RUNNING: Code.FailedPrecondition,
  TENANT_NOT_SUSPENDED: Code.FailedPrecondition,
  TENANT_BUSY: Code.Aborted,
  /** An extra host name of another tenant; `proxy` has the same reason for the same thing. */
  HOST_NAME_TAKEN: Code.FailedPrecondition,
  UNKNOWN_IMAGE: Code.InvalidArgument,
  RESOURCES_OUT_OF_RANGE: Code.InvalidArgument,
  HOST_FULL: Code.ResourceExhausted,
  NO_FREE_SLOT: Code.ResourceExhausted,
  HOST_POSTURE: Code.FailedPrecondition,
  HOST_DRAINING: Code.FailedPrecondition,
  BOOT_QUEUE_FULL: Code.ResourceExhausted,
  SPAWN_LIMIT_EXCEEDED: Code.DeadlineExceeded,
  SPAWN_CANCELLED: Code.Aborted,
  SPAWN_INTERRUPTED: Code.Aborted,
  BOOT_FAILED: Code.Internal,
  WORKLOAD_FAILED: Code.Internal,
  GUEST_MISBEHAVED: Code.Internal,
  GUEST_UNREACHABLE: Code.Unavailable,
  GUEST_BUSY: Code.ResourceExhausted,
  EXEC_NOT_STARTED: Code.InvalidArgument,
  VMM_LOG_NOT_OFFERED: Code.Unimplemented,
  SUSPEND_REFUSED: Code.FailedPrecondition,
  SUSPEND_LIMIT_EXCEEDED: Code.DeadlineExceeded,
  SUSPEND_INCOMPLETE: Code.Unavailable,
  RESUME_LIMIT_EXCEEDED: Code.DeadlineExceeded,
  RESUME_INCOMPLETE: Code.Unavailable,
  RESUME_FAILED: Code.Internal,
  /** As many wakes as this host takes are under way and wait. Metadata `retry_after_s`. */
  WAKE_HOST_BUDGET: Code.ResourceExhausted,
  /** The tenant was woken as often as it may be in an hour. Metadata `retry_after_s`. */
  WAKE_TENANT_BUDGET: Code.ResourceExhausted,
  ROLLBACK: Code.FailedPrecondition,
  STATE_BROKEN: Code.DataLoss,
  MACHINE_DIFFERS: Code.FailedPrecondition,
  BACKUP_NOT_FOUND: Code.NotFound,
  BACKUP_QUEUE_FULL: Code.ResourceExhausted,
  BACKUP_LIMIT_EXCEEDED: Code.DeadlineExceeded,
  /** Its tenant was evicted: nobody can open it any more. */
  BACKUP_KEY_GONE: Code.FailedPrecondition,
  BACKUP_OTHER_TENANT: Code.FailedPrecondition,
  BACKUP_BROKEN: Code.DataLoss,
  IMPORT_INVALID: Code.InvalidArgument,
  RESTORE_INCOMPLETE: Code.Unavailable,
  SUSPEND_FORBIDDEN: Code.FailedPrecondition,
  TENANT_NOT_IDLE: Code.Aborted,
  TOO_MANY_HOLDS: Code.ResourceExhausted,
  HOLD_TOO_LONG: Code.ResourceExhausted,
  HOLD_NOT_FOUND: Code.NotFound,
  EGRESS_UPDATE_INCOMPLETE: Code.Unavailable,
  LIMITS_UPDATE_INCOMPLETE: Code.Unavailable,
  EVICTION_INCOMPLETE: Code.Unavailable,
});
