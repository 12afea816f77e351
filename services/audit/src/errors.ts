import { Code } from "@connectrpc/connect";
import { defineErrors } from "@lobsterd/chassis/errors.ts";

/** Every way in which audit says no. The last five also end or prevent a run of the process. */
export const fail = defineErrors("audit.lobsterd", {
  EVENT_ID_REUSED: Code.InvalidArgument,
  INVALID_RECORD: Code.InvalidArgument,
  INVALID_TIME_RANGE: Code.InvalidArgument,
  INVALID_PAGE_TOKEN: Code.InvalidArgument,
  NOT_IN_TREE: Code.OutOfRange,
  APPEND_QUEUE_FULL: Code.ResourceExhausted,
  DISK_RESERVE: Code.ResourceExhausted,
  LOG_FAILED: Code.Unavailable,
  LOG_DAMAGED: Code.DataLoss,
  INDEX_MISMATCH: Code.DataLoss,
  CHECKPOINT_MISMATCH: Code.DataLoss,
  LOG_IN_USE: Code.FailedPrecondition,
});
