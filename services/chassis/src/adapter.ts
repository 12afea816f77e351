import type * as http from "node:http";
import * as http2 from "node:http2";
import { type ConnectError, createContextValues } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerRequest, UniversalServerResponse } from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  contentTypeUnaryJson,
  contentTypeUnaryRegExp,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { Peer, PeerSocket } from "./caller.ts";
import { peerKey } from "./gate.ts";

type NodeRequest = http.IncomingMessage | http2.Http2ServerRequest;
type NodeResponse = http.ServerResponse | http2.Http2ServerResponse;

const lingerMs = 1000;

/** What the adapter needs from its server. */
export interface AdapterOptions {
  readonly handlers: readonly UniversalHandler[];
  readonly peerOf: (socket: PeerSocket) => Peer;
  /** The refusal of a path that is no method. */
  readonly unknownPath: (peer: Peer, path: string) => ConnectError;
  readonly onError: (error: unknown, path: string) => void;
}

/** Serves RPC handlers as the listener of a Node HTTP/1.1 and HTTP/2 server. */
export function nodeListener(options: AdapterOptions): (request: NodeRequest, response: NodeResponse) => void {
  const byPath = new Map(options.handlers.map((handler) => [handler.requestPath, handler]));

  const serve = async (request: NodeRequest, response: NodeResponse, path: string): Promise<void> => {
    const peer = options.peerOf(socketOf(request));
    const handler = byPath.get(path);
    if (handler === undefined) {
      answerUnknown(request, response, options.unknownPath(peer, path));
      return;
    }
    const values = createContextValues().set(peerKey, peer);
    const answer = await handler(
      readDirectly(request, universalRequestFromNodeRequest(request, response, undefined, values)),
    );
    if (handler.method.methodKind === "unary" && "stream" in response && answer.body !== undefined) {
      await sendWhole({ ...answer, body: answer.body }, response);
      return;
    }
    const rest = await sendTrailersOnly(answer, response);
    if (rest !== undefined) await universalResponseToNodeResponse(rest, response);
  };

  return (request, response) => {
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    // The response of an HTTP/2 request reports its end only when the whole stream is closed; the stream itself is earlier.
    if ("stream" in request) request.stream.once("finish", () => stopReading(request));
    else response.once("finish", () => stopReading(request));
    serve(request, response, path).catch((error: unknown) => {
      options.onError(error, path);
      if (!response.writableEnded) response.destroy();
    });
  };
}

/** Node's compatible request is a second stream over that of HTTP/2, with a turn of the event loop of its own for each chunk. */
function readDirectly(request: NodeRequest, universal: UniversalServerRequest): UniversalServerRequest {
  // Who leaves the body unread has not left its stream: the answer is on it.
  return "stream" in request ? { ...universal, body: request.stream.iterator({ destroyOnReturn: false }) } : universal;
}

/** An answer of gRPC proper: its status is in its trailers. */
type GrpcAnswer = UniversalServerResponse & Required<Pick<UniversalServerResponse, "header" | "body" | "trailer">>;

function isGrpcAnswer(answer: UniversalServerResponse): answer is GrpcAnswer {
  const { body, trailer, header } = answer;
  return body !== undefined && trailer !== undefined && isGrpc(headersOf(header).get("content-type"));
}

/** A copy costs as much as the rest of an empty answer. */
function headersOf(header: UniversalServerResponse["header"]): Headers {
  return header instanceof Headers ? header : new Headers(header);
}

/**
 * A unary answer, whole. Connect's leaves in one write; gRPC's has trailers, which Node sends when the message is out. Left to the RPC library and
 * to Node's compatible response, the end of either is only said when the write before it was reported done.
 */
async function sendWhole(
  answer: UniversalServerResponse & { readonly body: AsyncIterable<Uint8Array> },
  response: http2.Http2ServerResponse,
): Promise<void> {
  // At most one message, which the handler has bounded.
  const message = Buffer.concat(await Array.fromAsync(answer.body));
  const { stream } = response;
  if (stream.destroyed || stream.closed) return;
  const headers = { ...Object.fromEntries(headersOf(answer.header)), ":status": answer.status };
  if (!isGrpcAnswer(answer)) {
    stream.respond(headers);
  } else if (message.length === 0 && answer.trailer.get("grpc-status") !== "0") {
    endWithHeaders(response, [...headersOf(answer.header), ...answer.trailer]);
    return;
  } else {
    response.addTrailers(Object.fromEntries(answer.trailer));
    stream.respond(headers, { waitForTrailers: true });
  }
  stream.end(message);
}

/**
 * A gRPC answer that is only an error goes out as one HEADERS frame that ends the stream. gRPC clients count an answer
 * whose headers arrived separately as begun, and never apply their retry policy to it.
 */
async function sendTrailersOnly(
  answer: UniversalServerResponse,
  response: NodeResponse,
): Promise<UniversalServerResponse | undefined> {
  if (!isGrpcAnswer(answer)) return answer;
  const { header, body, trailer } = answer;
  const iterator = body[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done === true && trailer.get("grpc-status") !== "0") {
    endWithHeaders(response, [...headersOf(header), ...trailer]);
    return undefined;
  }
  let pending: IteratorResult<Uint8Array> | undefined = first;
  return {
    ...answer,
    body: {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          const taken = pending;
          pending = undefined;
          return taken === undefined ? iterator.next() : Promise.resolve(taken);
        },
        throw: (error?: unknown) => iterator.throw?.(error) ?? Promise.reject(error),
        return: (value?: unknown) => iterator.return?.(value) ?? Promise.resolve({ done: true, value: undefined }),
      }),
    },
  };
}

function answerUnknown(request: NodeRequest, response: NodeResponse, error: ConnectError): void {
  const type = request.headers["content-type"] ?? "";
  if (isGrpc(type)) {
    const header = new Headers({ "content-type": type });
    setTrailerStatus(header, error);
    endWithHeaders(response, [...header]);
  } else if (contentTypeUnaryRegExp.test(type)) {
    response.statusCode = codeToHttpStatus(error.code);
    response.setHeader("content-type", contentTypeUnaryJson);
    response.end(errorToJsonBytes(error, undefined));
  } else {
    response.statusCode = 404;
    response.end();
  }
}

/** `setHeader` and `end`, not `writeHead`: only so does Node put END_STREAM on the HEADERS frame. */
function endWithHeaders(response: NodeResponse, entries: ReadonlyArray<readonly [string, string]>): void {
  for (const [name, value] of entries) response.setHeader(name, value);
  response.end();
}

/**
 * Ends the request some time after it is answered. A caller that was refused before its body was read may go on sending for ever, and
 * neither Node's HTTP/2 nor its HTTP/1.1 server stops it.
 */
function stopReading(request: NodeRequest): void {
  if ("stream" in request) {
    if (!request.stream.readableEnded) resetOnceAnswered(request.stream);
    return;
  }
  if (request.complete) return;
  const { socket } = request;
  // Half-closed first: a reset would overtake the answer.
  socket.end();
  setTimeout(() => socket.destroy(), lingerMs).unref();
}

/**
 * A stream is "finished" when its messages are with the session. Its trailers are not there yet, and a reset would drop them, and with them the status of the call.
 * Node keeps a stream until its body was read to the end, even if both sides have closed it, and its session and socket with it.
 */
function resetOnceAnswered(stream: http2.ServerHttp2Stream): void {
  const { NGHTTP2_STREAM_STATE_HALF_CLOSED_LOCAL, NGHTTP2_NO_ERROR } = http2.constants;
  const timer = setInterval(() => {
    if (!stream.closed && stream.state.state !== NGHTTP2_STREAM_STATE_HALF_CLOSED_LOCAL) return;
    // NO_ERROR after a complete answer asks the client to stop sending without failing the call (RFC 9113, section 8.1).
    stream.close(NGHTTP2_NO_ERROR);
    stream.destroy();
  }, lingerMs).unref();
  stream.once("close", () => clearInterval(timer));
}

function socketOf(request: NodeRequest): PeerSocket {
  const socket: unknown = "stream" in request ? (request.stream.session?.socket ?? request.socket) : request.socket;
  return socket as PeerSocket;
}

/** gRPC proper; gRPC-Web carries its trailers in the body. */
function isGrpc(contentType: string | null): boolean {
  return contentType !== null && /^application\/grpc(\+|;|$)/.test(contentType);
}
