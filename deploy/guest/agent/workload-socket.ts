/**
 * The workload's own way to its agent: HTTP on a Unix socket that only its user can open. `PUT /holds/<name>?seconds=60` keeps the guest awake,
 * `DELETE /holds/<name>` ends that. Answers are JSON: 200 with `{}`, or a status with `{"error": <reason>}`.
 */
import { chmodSync, chownSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "@lobsterd/proto/google/rpc/error_details_pb.ts";
import type { Holds } from "./holds.ts";

const maximumConnections = 16;
const maximumHeaderBytes = 4096;
const timeLimitMs = 5_000;

type Answer = { readonly status: number; readonly body: Readonly<Record<string, string>> };

const statuses: Partial<Record<Code, number>> = { [Code.InvalidArgument]: 400, [Code.ResourceExhausted]: 429 };

function answerTo({ method, url = "" }: IncomingMessage, holds: Holds): Answer {
  const [, name, query = ""] = /^\/holds\/([^/?]+)(?:\?(.*))?$/.exec(url) ?? [];
  if (name === undefined) return { status: 404, body: { error: "NOT_FOUND" } };
  try {
    if (method === "PUT") holds.acquire(name, Number(new URLSearchParams(query).get("seconds")) * 1000);
    else if (method === "DELETE") holds.release(name);
    else return { status: 405, body: { error: "METHOD_NOT_ALLOWED" } };
  } catch (error) {
    const { code, ...rest } = ConnectError.from(error);
    const reason = ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason ?? rest.name;
    return { status: statuses[code] ?? 500, body: { error: reason } };
  }
  return { status: 200, body: {} };
}

/** Serves the workload's user at `path`. Bodies are not read, and everything else is small and short. */
export function serveWorkload(
  path: string,
  user: { readonly uid: number; readonly gid: number },
  holds: Holds,
): Server {
  const server = createServer({
    ...{ maxHeaderSize: maximumHeaderBytes, headersTimeout: timeLimitMs, requestTimeout: timeLimitMs },
    keepAliveTimeout: 1000,
  });
  server.maxConnections = maximumConnections;
  server.on("request", (request, response) => {
    const { status, body } = answerTo(request, holds);
    request.resume();
    response.writeHead(status, { "content-type": "application/json", connection: "close" });
    response.end(`${JSON.stringify(body)}\n`);
  });
  rmSync(path, { force: true });
  server.listen(path, () => {
    chownSync(path, user.uid, user.gid);
    chmodSync(path, 0o600);
  });
  return server;
}
