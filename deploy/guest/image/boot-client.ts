import { request } from "node:https";
import { connect, type TLSSocket } from "node:tls";
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { AgentService } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { BareGuest } from "./bare-boot.ts";
import type { Leaf } from "./boot-authority.ts";

export const agentPort = 7443;
export const frontPort = 9000;
const maximumBodyBytes = 4 * 1024 * 1024;

type Caller = {
  readonly leaf?: Leaf;
  readonly serverName?: string;
  readonly maxVersion?: "TLSv1.2";
  readonly session?: Buffer;
};

function tlsOptions(guest: BareGuest, port: number, caller: Caller) {
  return {
    path: guest.network.socketOf(port),
    ca: guest.guests.certificatePem,
    servername: caller.serverName ?? guest.identity.hostNames[0] ?? "",
    // A test asks under wrong names too; what it checks is the guest's answer, and the chain is still verified.
    checkServerIdentity: () => undefined,
    ...(caller.leaf === undefined ? {} : { cert: caller.leaf.certificatePem, key: caller.leaf.privateKeyPem }),
    ...(caller.session === undefined ? {} : { session: caller.session }),
    ...(caller.maxVersion === undefined ? {} : { maxVersion: caller.maxVersion, minVersion: caller.maxVersion }),
  };
}

/** Opens a TLS connection to a guest's port as `caller`, HTTP/2 on the agent's port. */
export function connectGuest(guest: BareGuest, port: number, caller: Caller): TLSSocket {
  return connect({ ...tlsOptions(guest, port, caller), ALPNProtocols: [port === agentPort ? "h2" : "http/1.1"] });
}

/** A client of the guest's agent, with `token` if there is one, and the way to close its connection. */
export function agentClient(
  guest: BareGuest,
  leaf: Leaf,
  token: string | undefined,
): { client: Client<typeof AgentService>; close(): void } {
  const baseUrl = `https://${guest.identity.hostNames[0]}`;
  const sessionManager = new Http2SessionManager(
    baseUrl,
    {},
    { createConnection: () => connectGuest(guest, agentPort, { leaf }) },
  );
  const withToken: Interceptor = (next) => (request) => {
    if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const client = createClient(
    AgentService,
    createGrpcTransport({ baseUrl, sessionManager, interceptors: [withToken] }),
  );
  return { client, close: () => sessionManager.abort() };
}

export type FrontCall = Caller & {
  readonly path: string;
  readonly method?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
};

/** One HTTPS request to the gateway's port. Rejects when there is no answer within 30 s. */
export function callFront(guest: BareGuest, call: FrontCall): Promise<{ status: number; body: string }> {
  const host = call.host ?? guest.identity.hostNames[0] ?? "";
  return new Promise((resolve, reject) => {
    const { path: socketPath, ...tls } = tlsOptions(guest, frontPort, call);
    const outgoing = request({
      ...tls,
      socketPath,
      path: call.path,
      method: call.method ?? "GET",
      headers: { host, ...call.headers },
      agent: false,
      timeout: 30_000,
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error("no answer")));
    outgoing.on("error", reject);
    outgoing.on("response", (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
        if (body.length > maximumBodyBytes) response.destroy(new Error("body is too large"));
      });
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    outgoing.end(call.body);
  });
}
