import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import type { Front } from "./https-client.ts";

const maxAnswerBytes = 1024 * 1024;

/** A TLS connection to the front, for bytes that no HTTP client would send. */
export async function connectFront(front: Front, serverName: string, protocol: "http/1.1" | "h2"): Promise<TLSSocket> {
  const options = { path: front.socketPath, ca: front.caPem, servername: serverName, ALPNProtocols: [protocol] };
  const socket = connect(options);
  await once(socket, "secureConnect", { signal: AbortSignal.timeout(10_000) });
  return socket;
}

/** Sends bytes and returns everything that comes back until the front closes; throws if it does not within `limitMs`. */
export async function exchangeRaw(
  front: Front,
  serverName: string,
  bytes: string | Buffer,
  { protocol = "http/1.1", limitMs = 15_000 }: { protocol?: "http/1.1" | "h2"; limitMs?: number } = {},
): Promise<string> {
  const socket = await connectFront(front, serverName, protocol);
  let answer = "";
  socket.setEncoding("latin1").on("data", (chunk: string) => {
    answer = (answer + chunk).slice(0, maxAnswerBytes);
  });
  // A front that resets a connection has refused it as well.
  socket.on("error", () => undefined);
  const closed = once(socket, "close", { signal: AbortSignal.timeout(limitMs) });
  socket.write(bytes);
  try {
    await closed;
  } finally {
    socket.destroy();
  }
  return answer;
}
