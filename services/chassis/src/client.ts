import type { TLSSocket } from "node:tls";
import type { DescService } from "@bufbuild/protobuf";
import { type CallOptions, type Client, createClient, type HandlerContext, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  type GrpcTransportOptions,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { lostServerIsUnavailable, onlyCodeOfAnswer, retryIdempotent, withBearer } from "./client-interceptors.ts";
import type { TlsFiles } from "./listener.ts";
import { namePerson } from "./on-behalf-of.ts";
import { connectEvenExpired, connectPeer, type PeerAddress } from "./peer-connection.ts";
import { endWithMessage } from "./request-end.ts";
import { currentStamp, followCredential } from "./tls-credential.ts";
import { clientTracing } from "./trace-interceptors.ts";
import { onlyValidAnswers } from "./valid-answers.ts";

const defaultTimeoutMs = 10_000;
const maxMessageBytes = 1024 * 1024;
const retiredCheckMs = 1000;

/** A service of this platform: `service` is the `<name>` its certificate must have in `spiffe://<domain>/svc/<name>`. */
export type Peer =
  | { readonly service: string; readonly unixPath: string }
  | { readonly service: string; readonly host: string; readonly port: number };

/**
 * A client of another service. It presents our certificate, demands the peer's exact identity, and reconnects by itself at the next call.
 * After our files changed, calls that begin go over a connection with what they hold now; those that run end on the one they are on.
 * A unary call without a timeout gets `timeoutMs` (10 s); a stream gets none. Calls that may be repeated are, when the server is away,
 * unless `retry` is false.
 */
export function createServiceClient<S extends DescService>(
  service: S,
  peer: Peer,
  tls: TlsFiles & { readonly trustDomain: string },
  options: { readonly timeoutMs?: number; readonly retry?: boolean } = {},
): Client<S> {
  const { transport } = createPeerTransport(
    {
      target: "unixPath" in peer ? { unixPath: peer.unixPath } : { host: peer.host, port: peer.port },
      expectedUri: `spiffe://${tls.trustDomain}/svc/${peer.service}`,
      certificatePath: tls.certificatePath,
      keyPath: tls.keyPath,
      caPath: tls.platformCaPath,
    },
    { timeoutMs: options.timeoutMs ?? defaultTimeoutMs, maxReplyBytes: maxMessageBytes, retry: options.retry ?? true },
  );
  return createClient(service, transport);
}

export interface GuestAgent {
  readonly host: string;
  readonly port: number;
  readonly certificatePath: string;
  readonly keyPath: string;
  readonly guestCaPath: string;
  /** `spiffe://<domain>/guest/<tenant>/<vmId>/<generation>`. */
  readonly expectedUri: string;
  /** This service's token for that guest and generation. */
  readonly token: string;
  readonly timeoutMs: number;
  /** Bound of one reply message, 1 MiB by default. */
  readonly maxReplyBytes?: number;
}

export interface GuestAgentClient {
  readonly client: Client<typeof AgentService>;
  close(): void;
}

/**
 * A client of one guest's agent. `close` cuts its connection. Nothing is retried: the caller knows whether the guest lives. An answer that
 * breaks the proto's rules is DATA_LOSS; of an error that the guest answers only the code is kept.
 */
export function createGuestAgentClient(agent: GuestAgent): GuestAgentClient {
  return guestAgentClient(agent, () => connectPeer(guestAddress(agent)));
}

/**
 * The same for a guest whose certificate may have expired and has no other fault: for renewing it. Resolves when it is connected, and
 * throws when what answers is not that guest.
 */
export async function connectExpiredGuest(agent: GuestAgent): Promise<GuestAgentClient> {
  const socket = await connectEvenExpired(guestAddress(agent));
  const sockets = [socket];
  // One that broke meanwhile, or breaks later, is followed by one whose certificate has to be right.
  const connect = () => {
    const ready = sockets.pop();
    return ready === undefined || ready.destroyed ? connectPeer(guestAddress(agent)) : ready;
  };
  const { client, close } = guestAgentClient(agent, connect);
  return {
    client,
    close: () => {
      close();
      socket.destroy();
    },
  };
}

function guestAddress(agent: GuestAgent): PeerAddress & { target: { host: string; port: number } } {
  return {
    target: { host: agent.host, port: agent.port },
    expectedUri: agent.expectedUri,
    certificatePath: agent.certificatePath,
    keyPath: agent.keyPath,
    caPath: agent.guestCaPath,
  };
}

function guestAgentClient(agent: GuestAgent, connect: () => TLSSocket): GuestAgentClient {
  const { transport, close } = createPeerTransport(guestAddress(agent), {
    ...{ timeoutMs: agent.timeoutMs, maxReplyBytes: agent.maxReplyBytes ?? maxMessageBytes, retry: false },
    ...{ hostile: true, bearer: agent.token, connect },
  });
  return { client: createClient(AgentService, transport), close };
}

/** What a handler passes to the calls it makes: the time its own caller has left, and the end of its own call. */
export function onward(context: Pick<HandlerContext, "signal" | "timeoutMs">): CallOptions {
  const timeoutMs = context.timeoutMs();
  return { signal: context.signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
}

/** Bounds and manners of the calls to one peer. */
export interface PeerTransportOptions {
  readonly timeoutMs: number;
  readonly maxReplyBytes: number;
  readonly retry: boolean;
  readonly hostile?: boolean;
  /** Sent with every call. */
  readonly bearer?: string;
  /** Opens the connection, by default to `address`. */
  readonly connect?: () => TLSSocket;
}

/** A transport to one peer, and the way to cut its connections. */
export function createPeerTransport(
  address: PeerAddress,
  options: PeerTransportOptions,
): { transport: Transport; close(): void } {
  const credential = followCredential(address);
  const connect = options.connect ?? (() => connectPeer(address, credential()));
  const retired = new Set<Http2SessionManager>();
  let current = openTransport(address, options, connect);
  let stamp: string | undefined;

  /** A connection outlives the certificate that it was opened with, and is cut once that has expired. */
  function inForce(): Transport {
    const next = currentStamp(credential);
    if (stamp !== undefined && next !== undefined && next !== stamp) {
      retire(current.sessions, retired);
      current = openTransport(address, options, connect);
    }
    stamp = next ?? stamp;
    return current.transport;
  }

  return {
    transport: {
      unary: (method, signal, timeoutMs, header, message, values) =>
        inForce().unary(method, signal, timeoutMs, header, message, values),
      stream: (method, signal, timeoutMs, header, messages, values) =>
        inForce().stream(method, signal, timeoutMs, header, messages, values),
    },
    close: () => {
      for (const sessions of [current.sessions, ...retired]) sessions.abort();
    },
  };
}

/** Closes the connection as soon as no call is on it. */
function retire(sessions: Http2SessionManager, retired: Set<Http2SessionManager>): void {
  retired.add(sessions);
  const timer = setInterval(() => {
    const state = sessions.state();
    if (state === "open" || state === "connecting" || state === "verifying") return;
    clearInterval(timer);
    retired.delete(sessions);
    sessions.abort();
  }, retiredCheckMs);
  timer.unref();
}

function openTransport(address: PeerAddress, options: PeerTransportOptions, connect: () => TLSSocket) {
  const isUnix = "unixPath" in address.target;
  const baseUrl = isUnix ? "https://localhost" : `https://${address.target.host}:${address.target.port}`;
  const sessions = new Http2SessionManager(
    baseUrl,
    // A Unix socket cannot lose its peer silently; a network can.
    isUnix ? {} : { pingIntervalMs: 10_000, pingTimeoutMs: 5000, pingIdleConnection: false },
    {
      createConnection: connect,
      settings: { enablePush: false, maxHeaderListSize: 16 * 1024 },
    },
  );
  const settings = {
    baseUrl,
    readMaxBytes: options.maxReplyBytes,
    writeMaxBytes: maxMessageBytes,
    // Packing costs more than it saves between processes of one host, and a guest has nothing to say that would need it.
    acceptCompression: [],
    interceptors: [
      clientTracing,
      ...(options.retry ? [retryIdempotent] : []),
      ...(options.bearer === undefined ? [] : [withBearer(options.bearer)]),
      ...(options.hostile === true ? [onlyCodeOfAnswer, onlyValidAnswers] : [namePerson]),
      lostServerIsUnavailable,
    ],
  };
  const unary = createUnaryTransport(
    { ...settings, sessionManager: endWithMessage(sessions) },
    options.hostile === true,
  );
  const streams = createGrpcTransport({ ...settings, sessionManager: sessions });
  const { timeoutMs } = options;
  const transport: Transport = {
    // The library's own default deadline would cut streams as well.
    unary: (method, signal, asked, header, message, values) =>
      unary.unary(method, signal, asked ?? timeoutMs, header, message, values),
    stream: streams.stream.bind(streams),
  };
  return { transport, sessions };
}

/**
 * Services call each other by Connect: its answer to a unary call is headers and message, which leave in one write. gRPC's status follows them in
 * trailers, a turn of the server's event loop later. A guest's agent speaks gRPC alone.
 */
function createUnaryTransport(settings: GrpcTransportOptions, isGuest: boolean): Transport {
  return isGuest ? createGrpcTransport(settings) : createConnectTransport({ ...settings, httpVersion: "2" });
}
