import { once } from "node:events";
import { Agent, request } from "node:https";
import { connect } from "node:tls";
import { WebSocket } from "ws";

export type Answer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
};

/** HTTPS over a Unix socket, as a browser would speak it to the address in DNS. */
export type Front = { readonly socketPath: string; readonly caPem: string };

export type Asked = {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** Name in the TLS handshake, if it is not the host. */
  readonly serverName?: string;
  readonly agent?: Agent;
  /** For names that no certificate can have. */
  readonly takesAnyCertificate?: true;
};

/** One connection that is kept between requests. */
export function keptAgent(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 1 });
}

/** One request with a limit of 10 s. `host` is the Host header, port and all. */
export async function ask(front: Front, host: string, asked: Asked = {}): Promise<Answer> {
  const outgoing = request({
    socketPath: front.socketPath,
    ca: front.caPem,
    servername: asked.serverName ?? host.replace(/:\d+$/, ""),
    path: asked.path ?? "/",
    method: asked.method ?? "GET",
    headers: { ...asked.headers, Host: host },
    agent: asked.agent ?? false,
    rejectUnauthorized: asked.takesAnyCertificate !== true,
    signal: AbortSignal.timeout(10_000),
  });
  outgoing.end(asked.body);
  const [response] = await once(outgoing, "response");
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString("utf8") };
}

/** An open WebSocket. Its limit is the test's. */
export async function openWebSocket(front: Front, host: string): Promise<WebSocket> {
  const socket = new WebSocket(`wss://${host}/`, {
    handshakeTimeout: 10_000,
    createConnection: () =>
      connect({ path: front.socketPath, servername: host, ca: front.caPem, ALPNProtocols: ["http/1.1"] }),
  });
  await once(socket, "open", { signal: AbortSignal.timeout(10_000) });
  return socket;
}

/** Sends `text` and returns what comes back. */
export async function echo(socket: WebSocket, text: string): Promise<string> {
  const answer = once(socket, "message", { signal: AbortSignal.timeout(10_000) });
  socket.send(text);
  const [data] = await answer;
  return String(data);
}
