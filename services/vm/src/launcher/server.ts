import { chmodSync, chownSync, lstatSync, mkdirSync, unlinkSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import type { Duplex } from "node:stream";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { release } from "@lobsterd/chassis/release.ts";
import {
  type Answer,
  LauncherError,
  maxMessageBytes,
  requestSchema,
  streamVerbs,
  type Verb,
  type Verbs,
  verbArguments,
} from "./protocol.ts";

const sendWithinMs = 5_000;
const maxExchanges = 64;

export interface LauncherServer {
  /** Stops listening and cuts off every connection, channels too. */
  close(): Promise<void>;
}

/**
 * Serves the verbs on a Unix socket: one request a connection, at most 256 KiB, sent within 5 s, 64 exchanges at a time; channels come on
 * top, one per VM and kind. Who may connect is decided by the directory and the socket's group. Throws when another launcher answers there.
 */
export async function serve(path: string, groupId: number, verbs: Verbs, logger: Logger): Promise<LauncherServer> {
  const directory = dirname(path);
  mkdirSync(directory, { recursive: true });
  chownSync(directory, 0, groupId);
  chmodSync(directory, 0o750);
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
    if (await answers(path)) throw new Error(`another launcher serves ${path}`);
    unlinkSync(path);
  }
  let exchanges = 0;
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    if (exchanges === maxExchanges) return void socket.destroy();
    exchanges += 1;
    let counted = true;
    const leave = () => {
      if (counted) exchanges -= 1;
      counted = false;
    };
    socket.once("close", leave);
    void exchange(socket, verbs, logger, leave);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chownSync(path, 0, groupId);
  chmodSync(path, 0o660);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** `leave` is called when the connection does not count as an exchange any more: it waits for a channel, or is one. */
async function exchange(socket: Socket, verbs: Verbs, logger: Logger, leave: () => void): Promise<void> {
  socket.on("error", (error) => logger.debug({ err: error }, "connection failed"));
  const text = await readLine(socket);
  if (text === undefined) return void socket.destroy();
  let channel: Duplex | undefined;
  const open = <Request>(verb: (request: Request) => Promise<Duplex>) => {
    return async (request: Request): Promise<Duplex> => {
      leave();
      channel = await verb(request);
      return channel;
    };
  };
  const streams = { connect: open(verbs.connect), readDisk: open(verbs.readDisk), writeDisk: open(verbs.writeDisk) };
  const answer = `${JSON.stringify(await answerTo(text, { ...verbs, ...streams }, logger))}\n`;
  if (channel === undefined) {
    socket.setTimeout(sendWithinMs, () => socket.destroy());
    socket.end(answer);
  } else if (socket.destroyed) channel.destroy();
  else {
    socket.write(answer);
    relay(socket, channel);
  }
}

/** Bytes as they are, each side only as fast as the other reads; the end of one is the end of both. Nobody writes to a log. */
function relay(socket: Socket, channel: Duplex): void {
  socket.once("close", () => channel.destroy());
  channel
    .once("close", () => {
      if (!channel.readableEnded) return void socket.destroy();
      socket.setTimeout(sendWithinMs, () => socket.destroy()).end(); // what came before the end is still to be taken
    })
    .on("error", () => socket.destroy());
  passOn(channel, socket);
  if (channel.writable) passOn(socket, channel);
  else
    socket
      .on("data", () => socket.destroy())
      .on("end", () => socket.destroy())
      .resume();
}

/** As `pipe` does; what was passed on is given back. */
function passOn(from: Duplex, to: Duplex): void {
  from.on("data", (piece: Buffer) => {
    if (!to.write(piece, () => release(piece))) from.pause();
  });
  to.on("drain", () => from.resume());
  from.once("end", () => to.end()).resume();
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
    const isStream = (streamVerbs as readonly Verb[]).includes(request.verb);
    return { ok: true, result: isStream ? {} : result };
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
