import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import type { TLSSocket } from "node:tls";
import type { ConnectError, ServiceImpl } from "@connectrpc/connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type Decision, decideAccess } from "./access.ts";
import { fail } from "./errors.ts";
import type { Identity } from "./identity.ts";
import { log } from "./log.ts";
import { peerUri } from "./peer.ts";
import { guestTlsOptions } from "./tls-options.ts";

const maximumMessageBytes = 1024 * 1024;
const maximumConnections = 16;
const maximumHeaderBytes = 8192;
const idleMs = 10_000;
/** A whole call, the longest wait of Health included. */
const callMs = 30_000;

const refusals: Readonly<Record<Exclude<Decision, "allowed">, () => ConnectError>> = {
  unauthenticated: () => fail("NO_CERTIFICATE", "a certificate with one platform name is needed"),
  denied: () => fail("NOT_ALLOWED", "this caller may not use this RPC"),
  "unknown-method": () => fail("NOT_IMPLEMENTED", "no such RPC"),
};

/** Answers with headers only. Closing the stream tells the caller to stop sending: no byte of its body is read. */
function refuse(response: Http2ServerResponse, error: ConnectError): void {
  const headers = new Headers({ "content-type": "application/grpc" });
  setTrailerStatus(headers, error);
  response.stream.respond({ ":status": 200, ...Object.fromEntries(headers) }, { endStream: true });
}

/** A gRPC server with the connections it has. */
export type GrpcServer = {
  readonly server: Http2SecureServer;
  /** Accepts nothing new, lets answers under way leave, and resolves when every connection is closed or `limitMs` is over. */
  drain(limitMs: number): Promise<void>;
};

function track(server: Http2SecureServer): GrpcServer {
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.setTimeout(idleMs, () => session.close());
  });
  return {
    server,
    async drain(limitMs) {
      server.close();
      const closed = [...sessions].map((session) => new Promise<void>((resolve) => session.close(resolve)));
      const limit = new Promise<void>((resolve) => setTimeout(resolve, limitMs).unref());
      await Promise.race([Promise.all(closed), limit]);
    },
  };
}

/** Serves AgentService over gRPC to the services that `access.ts` names. The server is not listening yet. */
export function createGrpcServer(identity: Identity, handlers: ServiceImpl<typeof AgentService>): GrpcServer {
  const serve = connectNodeAdapter({
    routes: (router) => router.service(AgentService, handlers),
    grpc: true,
    grpcWeb: false,
    connect: false,
    readMaxBytes: maximumMessageBytes,
    writeMaxBytes: maximumMessageBytes,
    acceptCompression: [],
  });
  const onRequest = (request: Http2ServerRequest, response: Http2ServerResponse): void => {
    const caller = peerUri(request.socket as TLSSocket);
    const decision = decideAccess(request.url, caller, identity.trustDomain);
    if (decision === "allowed") {
      const timer = setTimeout(() => request.stream.close(), callMs);
      request.stream.once("close", () => clearTimeout(timer));
      serve(request, response);
      return;
    }
    log("call refused", { caller: caller ?? "", path: request.url.slice(0, 128), decision });
    refuse(response, refusals[decision]());
  };
  const server = createSecureServer(
    {
      ...guestTlsOptions(identity),
      ALPNProtocols: ["h2"],
      maxSessionMemory: 4,
      settings: { maxConcurrentStreams: 16, maxHeaderListSize: maximumHeaderBytes, enablePush: false },
    },
    onRequest,
  );
  server.maxConnections = maximumConnections;
  // A failed handshake is the caller's affair; without a listener Node would only close it as well.
  server.on("tlsClientError", (error) => log("handshake refused", { error: error.message.slice(0, 200) }));
  return track(server);
}
