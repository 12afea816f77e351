import { once } from "node:events";
import { connect } from "node:http2";
import { connect as connectTls } from "node:tls";
import type { Front } from "./https-client.ts";

export type Sent = { readonly method: string; readonly path: string; readonly body: string };

/**
 * Asks all of these at once, as a browser would: over one connection. A connection for each takes longer on a busy machine than Caddy waits for their headers
 * in a scene.
 */
export async function askTogether(
  { socketPath, caPem }: Front,
  host: string,
  requests: readonly Sent[],
): Promise<readonly { readonly status: number; readonly text: string }[]> {
  const session = connect(`https://${host}`, {
    createConnection: () => connectTls({ path: socketPath, servername: host, ca: caPem, ALPNProtocols: ["h2"] }),
  });
  const limit = AbortSignal.timeout(10_000);
  try {
    return await Promise.all(
      requests.map(async ({ method, path, body }) => {
        const stream = session.request({ ":method": method, ":path": path }, { endStream: false, signal: limit });
        stream.end(body);
        const [headers] = await once(stream, "response", { signal: limit });
        const chunks: Buffer[] = [];
        for await (const chunk of stream) chunks.push(chunk);
        return { status: Number(headers[":status"]), text: Buffer.concat(chunks).toString("utf8") };
      }),
    );
  } finally {
    session.destroy();
  }
}
