import { setTimeout as delay } from "node:timers/promises";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { hookMessages, raceSignal } from "./streams.ts";

type Request = Parameters<ReturnType<Interceptor>>[0];

/** With the back-offs below about 3.5 s: longer than a restart of a service takes. */
const maxAttempts = 8;
const firstBackoffMs = 50;
const maxBackoffMs = 1000;

const lostServerCodes = new Set([
  "ENOENT",
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ERR_HTTP2_GOAWAY_SESSION",
  "ERR_HTTP2_SESSION_ERROR",
  "ERR_HTTP2_STREAM_CANCEL",
  "ERR_HTTP2_INVALID_SESSION",
]);

/**
 * A server that is away is UNAVAILABLE. Left alone, a missing socket file is reported as INTERNAL, a server killed in the
 * middle of a call as CANCELED and a reset connection as ABORTED, and neither retries nor alarms would see an outage.
 */
export const lostServerIsUnavailable: Interceptor = translateFailures((error, request) =>
  normalizeLoss(error, request.signal),
);

/**
 * Leaves only the code of what a peer answers, for peers that are hostile: text, reason and details would carry what they please,
 * an injected secret included, into spans, logs and the answers of our own services.
 */
export const onlyCodeOfAnswer: Interceptor = translateFailures((error) => {
  const failure = ConnectError.from(error);
  return failure.isWireError ? new ConnectError("the peer refused the call", failure.code) : error;
});

/** Sends `token` with every call. */
export function withBearer(token: string): Interceptor {
  return (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
}

/**
 * Repeats a unary call that met UNAVAILABLE, with exponential back-off and jitter, within its deadline and at most seven times. Only calls
 * that may be repeated: a method with an idempotency level, or a request with a `requestId`.
 */
export const retryIdempotent: Interceptor = (next) => async (request) => {
  const attempts = isRepeatable(request) ? maxAttempts : 1;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await next(request);
    } catch (error) {
      if (attempt >= attempts || request.signal.aborted || ConnectError.from(error).code !== Code.Unavailable)
        throw error;
      const backoffMs = Math.min(firstBackoffMs * 2 ** (attempt - 1), maxBackoffMs) * (0.5 + Math.random());
      await raceSignal(request.signal, delay(backoffMs));
    }
  }
};

/** An interceptor that changes how a call fails, at its start or in the middle of its stream. */
function translateFailures(translate: (error: unknown, request: Request) => unknown): Interceptor {
  return (next) => async (request) => {
    const fail = (error: unknown) => translate(error, request);
    try {
      const response = await next(request);
      if (!response.stream) return response;
      return { ...response, message: hookMessages(response.message, { fail }) };
    } catch (error) {
      throw fail(error);
    }
  };
}

function isRepeatable(request: Request): boolean {
  if (request.stream) return false;
  if (request.method.idempotency !== Idempotency.IDEMPOTENCY_UNKNOWN) return true;
  return (
    "requestId" in request.message && typeof request.message.requestId === "string" && request.message.requestId !== ""
  );
}

function normalizeLoss(error: unknown, signal: AbortSignal): ConnectError {
  const failure = ConnectError.from(error);
  if (failure.isWireError || signal.aborted) return failure;
  const isCut = failure.code === Code.Canceled || failure.code === Code.Aborted;
  if (!isCut && !lostServerCodes.has(systemCode(failure.cause))) return failure;
  return new ConnectError(failure.rawMessage, Code.Unavailable, failure.metadata, undefined, failure.cause);
}

function systemCode(cause: unknown): string {
  return typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "";
}
