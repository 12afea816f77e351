/**
 * The agent's port. What arrives is bounded before it is looked at, and looked at before it is decoded:
 *
 * 1. A connection is TLS 1.3 from a service that may call at all, or it gets no byte (`admission.ts`, `caller.ts`).
 * 2. A call is decided from path, certificate and token, before a byte of its body is read (`access.ts`).
 * 3. A message is counted in bytes before it is decoded; JSON is not decoded at all; unknown fields are refused.
 */
import { X509Certificate } from "node:crypto";
import {
  createServer as createHttp2Server,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Server } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import type { ConnectError, ServiceImpl } from "@connectrpc/connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type CallingService, type Decision, decideAccess, serviceOf } from "./access.ts";
import { type AdmissionLimits, guardAdmission } from "./admission.ts";
import { type Caller, callerOf, standingOf } from "./caller.ts";
import type { CurrentIdentity } from "./current-identity.ts";
import { fail } from "./errors.ts";
import { onlyKnownFields } from "./known-fields.ts";
import { log } from "./log.ts";
import { guestTlsOptions } from "./tls-options.ts";
import { tokenMatches } from "./token.ts";

export type GrpcLimits = {
  readonly connections: AdmissionLimits;
  readonly idleMs: number;
  /** A whole call with one answer, the longest wait of Health included. */
  readonly callMs: number;
  /** A command or a log: longer than the host lets one last. */
  readonly streamMs: number;
  /** How long a caller may go on sending after it was answered. */
  readonly answeredMs: number;
  /** How long a connection may outlive the generation that it began with. */
  readonly oldGenerationMs: number;
};

export const grpcLimits: GrpcLimits = {
  connections: { silent: 512, unproved: 32, proved: 16, handshakeMs: 3_000 },
  idleMs: 10_000,
  callMs: 30_000,
  streamMs: 4 * 3_600_000 + 60_000,
  answeredMs: 1_000,
  oldGenerationMs: 4_000,
};

const maximumMessageBytes = 1024 * 1024;
const maximumHeaderBytes = 8192;
/** Of messages in messages. What is left of this is left to the protocol's own nested groups too. */
const maximumDepth = 32;
const encodings: ReadonlySet<string> = new Set(["application/grpc", "application/grpc+proto"]);

type Refusal = Exclude<Decision, "allowed"> | "unknown-encoding" | "large-headers" | "invalid-authority";

const refusals: Readonly<Record<Refusal, () => ConnectError>> = {
  expired: () => fail("CERTIFICATE_EXPIRED", "the caller's certificate has expired"),
  "clock-behind": () => fail("CLOCK_BEHIND", "this guest's clock is behind the caller's certificate: set it first"),
  denied: () => fail("NOT_ALLOWED", "this caller may not use this RPC"),
  "wrong-token": () => fail("TOKEN_REFUSED", "the caller's token for this guest and generation is needed"),
  "unknown-method": () => fail("NOT_IMPLEMENTED", "no such RPC"),
  "large-headers": () => fail("HEADERS_TOO_LARGE", "headers are at most 8 KiB"),
  "invalid-authority": () => fail("INVALID_AUTHORITY", ":authority is a host name, with a port or without"),
  "unknown-encoding": () => fail("NOT_IMPLEMENTED", "only gRPC with binary messages is spoken here"),
};

/** Answers with headers only. Closing the stream tells the caller to stop sending: no byte of its body is read. */
function refuse(response: Http2ServerResponse, error: ConnectError): void {
  const headers = new Headers({ "content-type": "application/grpc" });
  setTrailerStatus(headers, error);
  response.stream.respond({ ":status": 200, ...Object.fromEntries(headers) }, { endStream: true });
}

/** A gRPC server with the connections it has. */
export type GrpcServer = {
  readonly server: Server;
  /** Accepts nothing new, lets answers under way leave, and resolves when every connection is closed or `limitMs` is over. */
  drain(limitMs: number): Promise<void>;
};

type Peer = Caller & { readonly service: CallingService };

/** Serves AgentService over gRPC to the services that `access.ts` names. The server is not listening yet. */
export function createGrpcServer(
  current: CurrentIdentity,
  handlers: ServiceImpl<typeof AgentService>,
  limits: GrpcLimits = grpcLimits,
): GrpcServer {
  const peers = new WeakMap<ServerHttp2Session, Peer>();
  const http2 = createHttp2(answering(current, handlers, peers, limits));
  const tls = createTlsServer(tlsOptions(current));
  /** With the time at which a certificate of either end that it was opened under is over. */
  const sessions = new Map<ServerHttp2Session, number>();
  let admitted: Peer | undefined;
  http2.on("session", (session) => {
    if (admitted !== undefined) peers.set(session, admitted);
    const own = new X509Certificate(current.value.certificatePem).validToDate.getTime();
    sessions.set(session, Math.min(own, admitted?.validToMs ?? 0));
    session.once("close", () => sessions.delete(session));
    session.setTimeout(limits.idleMs, () => session.close());
  });
  const server = guardAdmission(tls, limits.connections, (socket) => {
    admitted = peerOf(socket, current);
    if (admitted === undefined) return false;
    // It makes the session before it returns, which is what ties the session to this peer.
    http2.emit("connection", socket);
    admitted = undefined;
    return true;
  });
  current.onChange(({ isNewGeneration }) => {
    tls.setSecureContext(tlsOptions(current));
    // Nothing new begins on any of them. What is under way goes on for as long as this is the guest that it was begun with.
    for (const [session, endMs] of sessions)
      endSession(session, isNewGeneration ? limits.oldGenerationMs : endMs - Date.now());
  });
  return { server, drain: (limitMs) => drain(server, [...sessions.keys()], limitMs) };
}

function tlsOptions(current: CurrentIdentity) {
  return {
    ...guestTlsOptions(current.value),
    // Refused by callerOf instead, which lets a caller through whose certificate only seems to be of the future.
    rejectUnauthorized: false,
    ALPNProtocols: ["h2"],
  };
}

/** The service at the other end; undefined when it is none that may call anything. */
function peerOf(socket: TLSSocket, current: CurrentIdentity): Peer | undefined {
  const { platformCaPem, trustDomain } = current.value;
  const caller = callerOf(socket, new X509Certificate(platformCaPem));
  const service = caller === undefined ? undefined : serviceOf(caller.uri, trustDomain);
  if (caller !== undefined && service !== undefined && socket.alpnProtocol === "h2") return { ...caller, service };
  log("connection refused", { caller: caller?.uri ?? "", error: String(socket.authorizationError ?? "") });
  return undefined;
}

function createHttp2(onRequest: (request: Http2ServerRequest, response: Http2ServerResponse) => void): Http2Server {
  const http2 = createHttp2Server(
    {
      maxSessionMemory: 4,
      maxHeaderListPairs: 64,
      settings: { maxConcurrentStreams: 16, maxHeaderListSize: maximumHeaderBytes, enablePush: false },
    },
    onRequest,
  );
  http2.on("sessionError", (error) => log("connection ended", { error: error.message.slice(0, 200) }));
  return http2;
}

function answering(
  current: CurrentIdentity,
  handlers: ServiceImpl<typeof AgentService>,
  peers: WeakMap<ServerHttp2Session, Peer>,
  limits: GrpcLimits,
) {
  const serve = connectNodeAdapter({
    routes: (router) => router.service(AgentService, handlers),
    grpc: true,
    grpcWeb: false,
    connect: false,
    readMaxBytes: maximumMessageBytes,
    writeMaxBytes: maximumMessageBytes,
    acceptCompression: [],
    binaryOptions: { recursionLimit: maximumDepth },
    interceptors: [onlyKnownFields],
  });
  return (request: Http2ServerRequest, response: Http2ServerResponse): void => {
    const { session } = request.stream;
    const peer = session === undefined ? undefined : peers.get(session as ServerHttp2Session);
    const decision = peer === undefined ? "denied" : decide(request, peer, current);
    if (decision === "allowed") {
      boundCall(request.stream, isStream(request.url) ? limits.streamMs : limits.callMs, limits.answeredMs);
      serve(request, response);
      return;
    }
    log("call refused", { caller: peer?.uri ?? "", path: request.url.slice(0, 128), decision });
    refuse(response, refusals[decision]());
  };
}

function isStream(path: string): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return AgentService.methods.some((method) => method.name === name && method.methodKind !== "unary");
}

/** The time of a call is over at `callMs`, or soon after its answer has left: what is still sent then is read by nobody. */
function boundCall(stream: ServerHttp2Stream, callMs: number, answeredMs: number): void {
  const cut = () => {
    stream.close();
    // Node keeps a closed stream until its body was read to the end, and with it the connection, which is one of few.
    stream.destroy();
  };
  let timer = setTimeout(cut, callMs);
  stream.once("finish", () => {
    clearTimeout(timer);
    timer = setTimeout(cut, answeredMs);
  });
  stream.once("close", () => clearTimeout(timer));
}

/** As HTTP/2 counts them: names, values and 32 bytes for each pair. */
function headerBytes(rawHeaders: readonly string[]): number {
  return rawHeaders.reduce((bytes, text) => bytes + Buffer.byteLength(text, "latin1") + 16, 0);
}

function decide(request: Http2ServerRequest, peer: Peer, current: CurrentIdentity): Decision | Refusal {
  // What the settings say about it is advice to the caller.
  if (headerBytes(request.rawHeaders) > maximumHeaderBytes) return "large-headers";
  if (!encodings.has(request.headers["content-type"] ?? "")) return "unknown-encoding";
  // The RPC library makes a URL of it, and what it throws then would end the agent.
  if (!URL.canParse(`https://${request.authority}`)) return "invalid-authority";
  return decideAccess({
    path: request.url,
    service: peer.service,
    standing: standingOf(peer, Date.now()),
    hasToken: tokenMatches(request.headers.authorization, current.value.tokenDigests[peer.service]),
  });
}

/** Lets the answers under way leave, then cuts the connection. */
function endSession(session: ServerHttp2Session, limitMs: number): void {
  const timer = setTimeout(() => session.destroy(), Math.max(0, limitMs));
  session.once("close", () => clearTimeout(timer));
  session.close();
}

async function drain(server: Server, sessions: readonly ServerHttp2Session[], limitMs: number): Promise<void> {
  server.close();
  const closed = sessions.map((session) => new Promise<void>((resolve) => session.close(resolve)));
  const limit = new Promise<void>((resolve) => setTimeout(resolve, limitMs).unref());
  await Promise.race([Promise.all(closed), limit]);
}
