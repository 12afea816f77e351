import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";

const reasons = {
  NOT_IMPLEMENTED: Code.Unimplemented,
  INVALID_FIELD: Code.InvalidArgument,
  HEADERS_TOO_LARGE: Code.ResourceExhausted,
  INVALID_AUTHORITY: Code.InvalidArgument,
  UNKNOWN_FIELD: Code.InvalidArgument,
  CERTIFICATE_EXPIRED: Code.Unauthenticated,
  CLOCK_BEHIND: Code.Unauthenticated,
  TOKEN_REFUSED: Code.Unauthenticated,
  NOT_ALLOWED: Code.PermissionDenied,
  CLOCK_BACKWARDS: Code.FailedPrecondition,
  CLOCK_NOT_SET: Code.Internal,
  KEY_MISSING: Code.FailedPrecondition,
  TOO_MANY_STREAMS: Code.ResourceExhausted,
  TOO_MANY_HOLDS: Code.ResourceExhausted,
  SHUTTING_DOWN: Code.Unavailable,
  SUSPEND_REFUSED: Code.FailedPrecondition,
  ASLEEP: Code.FailedPrecondition,
  WRONG_GENERATION: Code.FailedPrecondition,
  WORKLOAD_NOT_STARTED: Code.FailedPrecondition,
} as const;

export type Reason = keyof typeof reasons;

/** An error as callers see it: a code, and ErrorInfo with a stable reason in the domain agent.lobsterd. */
export function fail(reason: Reason, message: string, metadata: Readonly<Record<string, string>> = {}): ConnectError {
  const info = create(ErrorInfoSchema, { reason, domain: "agent.lobsterd", metadata });
  const error = new ConnectError(message, reasons[reason]);
  error.details.push({ desc: ErrorInfoSchema, value: info });
  return error;
}

/** INVALID_ARGUMENT for a field of a request, named as the proto names it. */
export function invalid(field: string, message: string): ConnectError {
  return fail("INVALID_FIELD", `${field}: ${message}`, { field });
}
