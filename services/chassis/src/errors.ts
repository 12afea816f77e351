import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";

/** The closed set of failures of one service: stable reason to wire code. */
export type Reasons = Readonly<Record<string, Code>>;

/** What a service throws on purpose. Its message goes to the caller, so it never holds a secret or another tenant's data. */
export class ServiceError extends Error {
  override readonly name = "ServiceError";
  readonly reason: string;
  readonly domain: string;
  readonly code: Code;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(
    identity: { reason: string; domain: string; code: Code },
    message: string,
    details: { metadata?: Readonly<Record<string, string>>; cause?: unknown } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.reason = identity.reason;
    this.domain = identity.domain;
    this.code = identity.code;
    this.metadata = details.metadata ?? {};
  }
}

/**
 * Declares the failures of one service and returns the only way to make them, which has their list as `reasons`.
 * `domain` is `<service>.lobsterd`; a reason is UPPER_SNAKE_CASE and never changes its meaning.
 */
export function defineErrors<const R extends Reasons>(domain: string, reasons: R) {
  const make = (
    reason: keyof R & string,
    message: string,
    details: { metadata?: Readonly<Record<string, string>>; cause?: unknown } = {},
  ): ServiceError => {
    const code = reasons[reason];
    if (code === undefined) throw new Error(`undeclared reason ${reason} of ${domain}`);
    return new ServiceError({ reason, domain, code }, message, details);
  };
  return Object.assign(make, { reasons: Object.keys(reasons) as readonly string[] });
}

/**
 * The one translation to the wire. A `ServiceError` becomes its code with `google.rpc.ErrorInfo`; a `ConnectError` made in
 * this process keeps its code and details; everything else, stack and message included, is hidden behind INTERNAL.
 */
export function toConnectError(error: unknown, domain = "lobsterd"): ConnectError {
  if (error instanceof ServiceError) {
    return withInfo(new ConnectError(error.message, error.code, undefined, undefined, error), {
      reason: error.reason,
      domain: error.domain,
      metadata: { ...error.metadata },
    });
  }
  if (error instanceof ConnectError) return fromConnectError(error, domain);
  if (error instanceof Error && (error.name === "AbortError" || error.name === "TimeoutError")) {
    const code = error.name === "TimeoutError" ? Code.DeadlineExceeded : Code.Canceled;
    return withInfo(new ConnectError("the call ended before its work did", code, undefined, undefined, error), {
      reason: code === Code.Canceled ? "CANCELLED" : "DEADLINE_EXCEEDED",
      domain,
      metadata: {},
    });
  }
  return withInfo(new ConnectError("internal error", Code.Internal, undefined, undefined, error), {
    reason: "INTERNAL",
    domain,
    metadata: {},
  });
}

/** The stable reason of a failure, on either side of the wire; `undefined` if it carries none. */
export function reasonOf(error: unknown): string | undefined {
  if (error instanceof ServiceError) return error.reason;
  if (!(error instanceof ConnectError)) return undefined;
  return error.findDetails(ErrorInfoSchema)[0]?.reason || undefined;
}

/** UPPER_SNAKE_CASE name of a wire code: the reason of a failure that has no better one. */
export function codeName(code: Code): string {
  return (Code[code] ?? "UNKNOWN").replaceAll(/(?<=[a-z])[A-Z]/g, "_$&").toUpperCase();
}

function fromConnectError(error: ConnectError, domain: string): ConnectError {
  // An answer of another service that says "you may not" is about this service, not about its caller.
  if (error.isWireError && (error.code === Code.Unauthenticated || error.code === Code.PermissionDenied)) {
    return withInfo(new ConnectError("internal error", Code.Internal, undefined, undefined, error), {
      reason: "DEPENDENCY_REFUSED",
      domain,
      metadata: {},
    });
  }
  if (reasonOf(error) !== undefined) return error;
  return withInfo(error, { reason: codeName(error.code), domain, metadata: {} });
}

function withInfo(
  error: ConnectError,
  info: { reason: string; domain: string; metadata: Record<string, string> },
): ConnectError {
  error.details.push({ desc: ErrorInfoSchema, value: info });
  return error;
}
