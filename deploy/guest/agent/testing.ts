/** A guest's authorities, identity and callers, for tests of the agent's ports without a guest around them. */
import { createHash, randomBytes } from "node:crypto";
import type { AddressInfo, Server } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { type Client, ConnectError, createClient, type ServiceImpl } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { type Authority, createAuthority, type Leaf } from "../image/boot-authority.ts";
import type { CallingService } from "./access.ts";
import type { Identity } from "./identity.ts";

export const testDomain = "lobsterd.test";
export const testHostName = "demo.guest.internal";
export const serviceUri = (service: string) => `spiffe://${testDomain}/svc/${service}`;

/** A guest that listens at 127.0.0.1. Its host dials from 127.0.0.2: the agent refuses who dials from its own address. */
export const guestAddress = "127.0.0.1";
export const hostAddress = "127.0.0.2";

export type TestGuest = {
  readonly platform: Authority;
  readonly guests: Authority;
  readonly identity: Identity;
  readonly tokens: Readonly<Record<CallingService, string>>;
};

export function newTokens(): TestGuest["tokens"] {
  return { vm: randomBytes(32).toString("base64url"), secrets: randomBytes(32).toString("base64url") };
}

export function digestsOf(tokens: TestGuest["tokens"]): Identity["tokenDigests"] {
  const digest = (service: CallingService) => createHash("sha256").update(tokens[service]).digest();
  return { vm: digest("vm"), secrets: digest("secrets") };
}

export async function testGuest(): Promise<TestGuest> {
  const [platform, guests] = await Promise.all([createAuthority("platform"), createAuthority("guests")]);
  const tokens = newTokens();
  const vmId = "0".repeat(32);
  const leaf = await guests.issue({ uri: `spiffe://${testDomain}/guest/demo/${vmId}/1`, dns: [testHostName] });
  const identity = {
    ...{ tenant: "demo", vmId, generation: 1, trustDomain: testDomain },
    ...{ hostNames: new Set([testHostName]), ...leaf, platformCaPem: platform.certificatePem },
    ...{ tokenDigests: digestsOf(tokens), hostTimeMs: 0, seed: Buffer.alloc(64), resolvers: [] },
    ...{ expectInjection: false, traceparent: undefined },
  };
  return { platform, guests, identity, tokens };
}

/** Handlers that only count how often one of them began. */
export function countingHandlers(): { handlers: ServiceImpl<typeof AgentService>; runs: () => number } {
  let runs = 0;
  const answer = async () => {
    runs += 1;
    return {};
  };
  // biome-ignore lint/correctness/useYield: it ends the stream before its first message
  const stream = async function* (): AsyncGenerator<never> {
    runs += 1;
  };
  const names = AgentService.methods.map(({ localName, methodKind }) => [
    localName,
    methodKind === "unary" ? answer : stream,
  ]);
  return { handlers: Object.fromEntries(names) as ServiceImpl<typeof AgentService>, runs: () => runs };
}

export type CallerOptions = {
  readonly leaf?: Leaf;
  readonly token?: string;
  readonly maxVersion?: "TLSv1.2";
  /** Where it dials from: the host's address if it does not say. */
  readonly localAddress?: string;
  /** A TLS session to take up. */
  readonly session?: Buffer;
};

export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** Opens a TLS connection to `port` of the guest as its host does. The chain is verified; names are another test's subject. */
export function dial(guest: Pick<TestGuest, "guests">, port: number, caller: CallerOptions): TLSSocket {
  const { leaf, maxVersion, localAddress = hostAddress, session } = caller;
  return connect({
    ...{ host: guestAddress, localAddress, port, servername: testHostName },
    ...(session === undefined ? {} : { session }),
    ...{ ca: guest.guests.certificatePem, checkServerIdentity: () => undefined, ALPNProtocols: ["h2"] },
    ...(leaf === undefined ? {} : { cert: leaf.certificatePem, key: leaf.privateKeyPem }),
    ...(maxVersion === undefined ? {} : { maxVersion, minVersion: maxVersion }),
  });
}

/** A client of the agent at `port`, and the way to close its connection. */
export function clientOf(guest: Pick<TestGuest, "guests">, port: number, caller: CallerOptions) {
  const baseUrl = `https://${testHostName}`;
  const sessionManager = new Http2SessionManager(baseUrl, {}, { createConnection: () => dial(guest, port, caller) });
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager,
    interceptors: [
      (next) => (request) => {
        if (caller.token !== undefined) request.header.set("authorization", `Bearer ${caller.token}`);
        return next(request);
      },
    ],
  });
  const client: Client<typeof AgentService> = createClient(AgentService, transport);
  return { client, close: () => sessionManager.abort() };
}

/** "ok", the agent's reason, or "dropped" when the connection ended without an answer. */
export async function outcomeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (error) {
    const failure = ConnectError.from(error);
    if (!failure.isWireError) return "dropped";
    return failure.findDetails(ErrorInfoSchema)[0]?.reason ?? `code ${failure.code}`;
  }
}
