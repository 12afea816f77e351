import { chmodSync, chownSync, lstatSync, mkdirSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { type Answer, LauncherError, maxMessageBytes, requestSchema, type Verbs, verbArguments } from "./protocol.ts";

const sendWithinMs = 5_000;
const maxConnections = 16;

/**
 * Serves the verbs on a Unix socket: one request a connection, at most 256 KiB, sent within 5 s, 16 connections at a time. Who may
 * connect is decided by the directory and the socket's group. Throws when another launcher answers there.
 */
export async function serve(path: string, groupId: number, verbs: Verbs, logger: Logger): Promise<Server> {
  const directory = dirname(path);
  mkdirSync(directory, { recursive: true });
  chownSync(directory, 0, groupId);
  chmodSync(directory, 0o750);
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
    if (await answers(path)) throw new Error(`another launcher serves ${path}`);
    unlinkSync(path);
  }
  const server = createServer({ allowHalfOpen: true }, (socket) => void exchange(socket, verbs, logger));
  server.maxConnections = maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chownSync(path, 0, groupId);
  chmodSync(path, 0o660);
  return server;
}

async function exchange(socket: Socket, verbs: Verbs, logger: Logger): Promise<void> {
  socket.on("error", (error) => logger.debug({ err: error }, "connection failed"));
  const text = await readLine(socket);
  if (text === undefined) return void socket.destroy();
  const answer = `${JSON.stringify(await answerTo(text, verbs, logger))}\n`;
  socket.setTimeout(sendWithinMs, () => socket.destroy());
  socket.end(answer);
}

/** The first line, or undefined when it is too long, too slow or cut off. */
function readLine(socket: Socket): Promise<string | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const finish = (line: string | undefined) => {
      clearTimeout(timer);
      socket.removeAllListeners("data").pause();
      resolve(line);
    };
    const timer = setTimeout(finish, sendWithinMs, undefined);
    socket.once("close", () => finish(undefined)).once("end", () => finish(undefined));
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size > maxMessageBytes) finish(undefined);
      else if (chunk.includes(10)) finish(Buffer.concat(chunks).toString("utf8"));
    });
  });
}

async function answerTo(text: string, verbs: Verbs, logger: Logger): Promise<Answer> {
  const began = performance.now();
  const facts: Record<string, unknown> = {};
  try {
    const request = requestSchema.parse(JSON.parse(text));
    facts["verb"] = request.verb;
    facts["trace_id"] = request.traceparent?.split("-")[1];
    const parsed = verbArguments[request.verb].parse(request.arguments) as { vmId?: string };
    facts["vmId"] = parsed.vmId;
    const result = await (verbs[request.verb] as (argument: unknown) => Promise<unknown>)(parsed);
    logger.info({ ...facts, durationMs: Math.round(performance.now() - began) }, "verb done");
    return { ok: true, result };
  } catch (error) {
    const refused = refusal(error);
    logger.warn(
      { ...facts, reason: refused.reason, err: error, durationMs: Math.round(performance.now() - began) },
      "verb refused",
    );
    return { ok: false, reason: refused.reason, message: refused.message };
  }
}

/** Text of an unexpected error stays in the log: it can carry host paths. */
function refusal(error: unknown): { reason: LauncherError["reason"]; message: string } {
  if (error instanceof LauncherError) return error;
  const malformed = error instanceof SyntaxError || (error instanceof Error && error.name === "ZodError");
  if (malformed) return { reason: "INVALID_REQUEST", message: "the request does not match the protocol" };
  return { reason: "INTERNAL", message: "the launcher failed; its log says why" };
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => resolve(true)).once("error", () => resolve(false));
    probe.once("close", () => probe.destroy()).once("connect", () => probe.destroy());
  });
}
