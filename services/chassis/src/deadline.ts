import type { DescMethod } from "@bufbuild/protobuf";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest } from "@connectrpc/connect/protocol";
import { hookMessages, raceSignal } from "./streams.ts";

/** Bounds of a call's time, in milliseconds. */
export interface DeadlineBounds {
  /** For a unary call that names no deadline. */
  readonly defaultMs: number;
  /** For a stream that names none, and the most that any call gets. */
  readonly maxMs: number;
  /** Own bound of a method, by its proto name: its default and its maximum at once. */
  readonly methodsMs: Readonly<Record<string, number>>;
}

const unitsMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000001 };

/**
 * Gives each call a deadline before the RPC library reads its headers: an absent one becomes the default, one that is too
 * long becomes the maximum. Clients commonly send none or an hour; refusing them would only teach them to retry. The body
 * is bounded too: a caller that never finishes its request is answered at the deadline.
 */
export function withDeadline(handler: UniversalHandler, bounds: DeadlineBounds): UniversalHandler {
  const bounded = async (request: UniversalServerRequest) => {
    const grpc = /^application\/grpc/.test(request.header.get("content-type") ?? "");
    const name = grpc ? "grpc-timeout" : "connect-timeout-ms";
    const asked = request.header.get(name);
    const timeoutMs = boundMs(handler.method, asked === null ? undefined : parseMs(asked, grpc), bounds);
    if (timeoutMs === undefined) return await handler(request);
    request.header.set(name, grpc ? `${timeoutMs}m` : String(timeoutMs));
    return await handler({ ...request, body: boundBody(request, timeoutMs) });
  };
  return Object.assign(bounded, handler);
}

/** Answers at the deadline or the end of the connection even if the handler does not heed its signal. */
export const enforceDeadline: Interceptor = (next) => async (request) => {
  const { signal } = request;
  const response = await raceSignal(signal, next(request));
  if (!response.stream) return response;
  return { ...response, message: hookMessages(response.message, { step: (run) => raceSignal(signal, run()) }) };
};

/** The time a call gets; `undefined` leaves a malformed header to the RPC library, which refuses it. */
function boundMs(
  method: DescMethod,
  asked: number | "malformed" | undefined,
  bounds: DeadlineBounds,
): number | undefined {
  if (asked === "malformed") return undefined;
  const own = bounds.methodsMs[method.name];
  const limit = own ?? bounds.maxMs;
  if (asked !== undefined) return Math.min(asked, limit);
  const fallback = method.methodKind === "unary" ? Math.min(bounds.defaultMs, bounds.maxMs) : bounds.maxMs;
  return own ?? fallback;
}

function parseMs(value: string, grpc: boolean): number | "malformed" {
  const match = (grpc ? /^(\d{1,8})([HMSmun])$/ : /^(\d{1,10})$/).exec(value);
  if (match === null) return "malformed";
  return Math.ceil(Number(match[1]) * (unitsMs[match[2] ?? "m"] ?? 1));
}

function boundBody(request: UniversalServerRequest, timeoutMs: number): UniversalServerRequest["body"] {
  const { body } = request;
  if (!isByteStream(body)) return body;
  const late = () => new ConnectError("the request did not arrive in time", Code.DeadlineExceeded);
  let isLate = false;
  let giveUp: ((reason: ConnectError) => void) | undefined;
  const timer = setTimeout(() => {
    isLate = true;
    giveUp?.(late());
  }, timeoutMs);
  timer.unref();
  request.signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  return {
    [Symbol.asyncIterator]() {
      const iterator = body[Symbol.asyncIterator]();
      return {
        next: () =>
          new Promise((resolve, reject) => {
            if (isLate) reject(late());
            giveUp = reject;
            iterator.next().then(resolve, reject);
          }),
        // A read that waits for the caller would hold this back for as long as the caller likes.
        return: (value?: unknown) => {
          void Promise.resolve(iterator.return?.(value)).catch(() => undefined);
          return Promise.resolve({ done: true, value: undefined });
        },
      };
    },
  };
}

function isByteStream(body: UniversalServerRequest["body"]): body is AsyncIterable<Uint8Array> {
  return typeof body === "object" && body !== null && Symbol.asyncIterator in body;
}
