/** Attacks through the guest's own network stack. Addresses are IPv4; every wait has a limit and everything opened is closed. */
import { createSocket } from "node:dgram";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

const maximumFlows = 10_000;
const maximumWaitMs = 30_000;

export interface Target {
  readonly protocol: "tcp" | "udp";
  readonly host: string;
  readonly port: number;
}

export interface Connects {
  readonly targets: readonly Target[];
  /** At once. Default: all. */
  readonly concurrency?: number;
  /** How long one target may take. Default: 1.5 s. */
  readonly timeoutMs?: number;
}

/** `echo`: what was sent came back. `timeout`, `closed`, or the error's code: it did not. */
export type Outcome = string;

function bounded(ms: number): number {
  if (!(ms >= 0 && ms <= maximumWaitMs)) throw new Error(`waits longer than ${maximumWaitMs} ms`);
  return ms;
}

/** Sends one byte over an open or opening connection and waits for any. */
export function echoOver(socket: Socket, timeoutMs: number): Promise<Outcome> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve("timeout"), timeoutMs);
    const end = (outcome: Outcome): void => {
      clearTimeout(timer);
      resolve(outcome);
    };
    socket.once("data", () => end("echo"));
    socket.once("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    socket.once("close", () => end("closed"));
    socket.write("x");
  });
}

async function echoByTcp({ host, port }: Target, timeoutMs: number): Promise<Outcome> {
  const socket = connect(port, host);
  const outcome = await echoOver(socket, timeoutMs);
  socket.on("error", () => undefined).resetAndDestroy();
  return outcome;
}

function echoByUdp({ host, port }: Target, timeoutMs: number): Promise<Outcome> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const timer = setTimeout(() => end("timeout"), timeoutMs);
    const end = (outcome: Outcome): void => {
      clearTimeout(timer);
      socket.removeAllListeners().on("error", () => undefined);
      socket.close();
      resolve(outcome);
    };
    socket.on("message", () => end("echo"));
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    socket.send("x", port, host, (error) => error !== null && end((error as NodeJS.ErrnoException).code ?? "error"));
  });
}

/** Asks each target for an echo. Outcomes are in the order of the targets. */
export async function connectAll({ targets, concurrency, timeoutMs = 1500 }: Connects): Promise<Outcome[]> {
  if (targets.length > maximumFlows) throw new Error(`more than ${maximumFlows} targets`);
  const limit = bounded(timeoutMs);
  const outcomes: Outcome[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < targets.length; at = next++) {
      const target = targets[at];
      if (target === undefined) return;
      outcomes[at] = await (target.protocol === "tcp" ? echoByTcp : echoByUdp)(target, limit);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency ?? targets.length, targets.length) }, work));
  return outcomes;
}

export interface Flood extends Target {
  readonly count: number;
  /** How long everything stays open after the last flow was begun. */
  readonly holdMs: number;
}

/** Begins `count` flows, each from a port of its own, and keeps them all open together. Returns how many were established. */
export async function flood({ protocol, host, port, count, holdMs }: Flood): Promise<{ established: number }> {
  if (count > maximumFlows) throw new Error(`more than ${maximumFlows} flows`);
  const wait = bounded(holdMs);
  return await (protocol === "tcp" ? floodByTcp : floodByUdp)(host, port, count, wait);
}

async function floodByTcp(host: string, port: number, count: number, holdMs: number): Promise<{ established: number }> {
  let established = 0;
  const sockets: Socket[] = [];
  for (let at = 0; at < count; at++) {
    const socket = connect(port, host, () => established++).on("error", () => undefined);
    sockets.push(socket);
    // Lets the loop see what came back meanwhile.
    if (at % 100 === 99) await delay(1);
  }
  await delay(holdMs);
  for (const socket of sockets) socket.resetAndDestroy();
  return { established };
}

async function floodByUdp(host: string, port: number, count: number, holdMs: number): Promise<{ established: number }> {
  let established = 0;
  const sockets = Array.from({ length: count }, () => {
    const socket = createSocket("udp4").on("error", () => undefined);
    socket.once("message", () => established++);
    return socket;
  });
  for (const socket of sockets) await new Promise((resolve) => socket.send("x", port, host, resolve));
  await delay(holdMs);
  for (const socket of sockets) socket.close();
  return { established };
}

let held: Socket | undefined;

/** Opens a TCP connection that stays, in place of the one before. */
export async function hold({ host, port }: { host: string; port: number }): Promise<Outcome> {
  held?.destroy();
  held = connect(port, host).on("error", () => undefined);
  return await echoOver(held, 5000);
}

/** Asks for an echo over the connection that stays. */
export async function use(): Promise<Outcome> {
  if (held === undefined || held.destroyed) return "closed";
  return await echoOver(held, 5000);
}
