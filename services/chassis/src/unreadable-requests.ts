/**
 * A request that fails before its interceptors run (too large, malformed, late) has neither reason nor log line: both are added where its failure
 * becomes known, which is at the end of gRPC's answer, and in the body of Connect's.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import {
  createAsyncIterable,
  type UniversalHandler,
  type UniversalServerRequest,
  type UniversalServerResponse,
  uResponseMethodNotAllowed,
} from "@connectrpc/connect/protocol";
import { contentTypeUnaryJson, errorFromJsonBytes, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { findTrailerError, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { codeName, reasonOf, toConnectError } from "./errors.ts";
import type { Logger } from "./logger.ts";

/** `domain` names the server in failures that have no reason yet. */
export function explainFailures(handler: UniversalHandler, domain: string, logger: Logger): UniversalHandler {
  /** The failure with its reason; `undefined` if it had one. */
  const explain = (error: ConnectError): ConnectError | undefined => {
    if (reasonOf(error) !== undefined) return undefined;
    logger.warn({ method: handler.requestPath.slice(1), code: codeName(error.code) }, "request was not readable");
    return toConnectError(error, domain);
  };
  const explained = async (request: UniversalServerRequest): Promise<UniversalServerResponse> => {
    // Connect would take a call without side effects as GET, with its request in the URL, where proxies log it.
    if (request.method !== "POST") return uResponseMethodNotAllowed;
    const answer = await handler(request);
    const { body, trailer } = answer;
    if (body === undefined) return answer;
    if (trailer === undefined) return isConnectFailure(answer) ? await explainBody(answer, body, explain) : answer;
    const explainTrailer = () => {
      const error = trailer.has("grpc-status") ? findTrailerError(trailer) : undefined;
      const whole = error === undefined ? undefined : explain(error);
      if (whole !== undefined) setTrailerStatus(trailer, whole);
    };
    return { ...answer, body: atEnd(body, explainTrailer) };
  };
  return Object.assign(explained, handler);
}

/** A failure of a unary call. One that is long enough to be packed has been through the interceptors. */
function isConnectFailure({ status, header }: UniversalServerResponse): boolean {
  if (status === 200) return false;
  const headers = new Headers(header);
  return headers.get("content-type") === contentTypeUnaryJson && !headers.has("content-encoding");
}

async function explainBody(
  answer: UniversalServerResponse,
  body: AsyncIterable<Uint8Array>,
  explain: (error: ConnectError) => ConnectError | undefined,
): Promise<UniversalServerResponse> {
  const bytes = Buffer.concat(await Array.fromAsync(body));
  const whole = explain(errorFromJsonBytes(bytes, undefined, new ConnectError("unknown failure", Code.Unknown)));
  const said = whole === undefined ? bytes : errorToJsonBytes(whole, undefined);
  const header = new Headers(answer.header);
  header.set("content-length", String(said.byteLength));
  return { ...answer, header, body: createAsyncIterable([said]) };
}

function atEnd(body: AsyncIterable<Uint8Array>, end: () => void): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = body[Symbol.asyncIterator]();
      return {
        next: async () => {
          const result = await iterator.next();
          if (result.done === true) end();
          return result;
        },
        throw: (error?: unknown) => iterator.throw?.(error) ?? Promise.reject(error),
        return: (value?: unknown) => iterator.return?.(value) ?? Promise.resolve({ done: true, value: undefined }),
      };
    },
  };
}
