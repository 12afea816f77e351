import { lstatSync, unlinkSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { tenantPattern } from "../tenant-name.ts";
import type { HeldAnswer } from "./wake.ts";
import type { Wakes } from "./wakes.ts";

export type WakeListener = { close(): Promise<void> };

const failedRetryS = 5;
const wakePath = new RegExp(`^/(${tenantPattern})$`);

/**
 * Where Caddy asks before it sends a request to a sleeping tenant: HTTP on a Unix socket, `GET /<tenant>`. 204: send it on. Anything else is what the
 * client is told. Nothing of the client's request comes here but the tenant's name. `maxConnections` is a bound, not a queue: what is above is
 * closed, and Caddy says 503.
 *
 * The socket's group is the directory's, Caddy's; see `name-files.ts` for why its mode has to come with it. Throws if another process serves it.
 */
export async function startWakeListener(
  path: string,
  wakes: Pick<Wakes, "hold">,
  maxConnections: number,
  logger: Logger,
): Promise<WakeListener> {
  const server = createServer({ maxHeaderSize: 4096, keepAliveTimeout: 1000 }, (request, response) => {
    const left = new AbortController();
    response.on("close", () => left.abort());
    const tenant = wakePath.exec(request.url ?? "")?.[1];
    if (tenant === undefined) return respond(response, 404, "NO_SUCH_TENANT");
    wakes.hold(tenant, left.signal).then(
      (answer) => tell(response, answer),
      (error: unknown) => {
        logger.error({ err: error, tenant }, "a request to a sleeping tenant failed");
        tell(response, { kind: "refused", retryAfterS: failedRetryS });
      },
    );
  });
  server.maxConnections = maxConnections;
  server.on("clientError", (_error, socket) => socket.destroy());
  // A socket file of a run that was killed. Only this service can make one in this directory.
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) unlinkSync(path);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    const previous = process.umask(0o117);
    try {
      server.listen(path, () => {
        server.off("error", reject);
        resolve();
      });
    } finally {
      process.umask(previous);
    }
  });
  server.on("error", (error) => logger.warn({ err: error }, "wake socket reported an error"));
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

function tell(response: ServerResponse, answer: HeldAnswer): void {
  if (answer.kind === "awake") response.writeHead(204).end();
  else if (answer.kind === "gone") respond(response, 404, "NO_SUCH_TENANT");
  else respond(response, 503, "TENANT_NOT_AWAKE", { "Retry-After": String(answer.retryAfterS) });
}

function respond(response: ServerResponse, status: number, reason: string, more: Record<string, string> = {}): void {
  const headers = { "Content-Type": "application/json", "Cache-Control": "no-store", ...more };
  response.writeHead(status, headers).end(`${JSON.stringify({ reason })}\n`);
}
