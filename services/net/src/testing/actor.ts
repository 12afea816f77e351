/**
 * A process that a test puts into a network namespace and tells over IPC what to do there: listen, connect, hold a
 * connection, send datagrams, count what arrives. Answers are `{ id, result }`.
 */
import { createSocket } from "node:dgram";
import { createServer, connect as dial, type Socket } from "node:net";

export interface ActorCommands {
  /** TCP echo server. */
  listen(port: number): Promise<"listening">;
  /** Connects, sends, waits for the echo. */
  connect(host: string, port: number, timeoutMs: number): Promise<string>;
  /** The same, and keeps the connection. */
  hold(host: string, port: number): Promise<string>;
  /** Sends over the kept connection: `echo`, `timeout`, or how it ended. */
  use(timeoutMs: number): Promise<string>;
  count(port: number): Promise<"counting">;
  /** Datagrams that arrived since the last call, after a quiet moment. */
  counted(port: number): Promise<number>;
  /** `flows` sockets send one datagram each. */
  send(host: string, port: number, flows: number): Promise<"sent">;
  /** One socket sends `count` datagrams as fast as it can. */
  burst(host: string, port: number, count: number): Promise<"sent">;
  /** One socket sends datagrams of `bytes` as fast as it can for so long. */
  stream(host: string, port: number, bytes: number, durationMs: number): Promise<"sent">;
  /** Of a port that is counted: packets since the last call, and the time between the first of them and the last. */
  measured(port: number): Promise<{ packets: number; durationMs: number }>;
}

const counters = new Map<number, number>();
const arrivals = new Map<number, { packets: number; firstMs: number; lastMs: number }>();
let held: Socket | undefined;

function echoOf(socket: Socket, timeoutMs: number): Promise<string> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve("timeout"), timeoutMs);
    const end = (result: string): void => {
      clearTimeout(timer);
      resolve(result);
    };
    socket.once("data", () => end("echo"));
    socket.once("error", (error) => end("code" in error ? String(error.code) : error.message));
    socket.once("close", () => end("closed"));
    socket.write("x");
  });
}

function arrived(port: number): void {
  counters.set(port, (counters.get(port) ?? 0) + 1);
  const now = performance.now();
  const { packets, firstMs } = arrivals.get(port) ?? { packets: 0, firstMs: now };
  arrivals.set(port, { packets: packets + 1, firstMs, lastMs: now });
}

const commands: ActorCommands = {
  listen: (port) =>
    new Promise((resolve) =>
      createServer((socket) => socket.on("error", () => socket.destroy()).pipe(socket)).listen(port, () =>
        resolve("listening"),
      ),
    ),
  async connect(host, port, timeoutMs) {
    const socket = dial(port, host);
    const result = await echoOf(socket, timeoutMs);
    socket.on("error", () => undefined).destroy();
    return result;
  },
  async hold(host, port) {
    held = dial(port, host);
    held.on("error", () => undefined);
    return await echoOf(held, 2000);
  },
  async use(timeoutMs) {
    if (held === undefined || held.destroyed) return "closed";
    return await echoOf(held, timeoutMs);
  },
  count: (port) =>
    new Promise((resolve) => {
      const socket = createSocket("udp4");
      counters.set(port, 0);
      socket.on("message", () => arrived(port));
      socket.bind(port, () => resolve("counting"));
    }),
  async counted(port) {
    let before = -1;
    for (let now = counters.get(port) ?? 0; now !== before; now = counters.get(port) ?? 0) {
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    counters.set(port, 0);
    return before;
  },
  async send(host, port, flows) {
    const sockets = Array.from({ length: flows }, () => createSocket("udp4").on("error", () => undefined));
    for (const socket of sockets) {
      await new Promise((resolve) => socket.send("x", port, host, resolve));
    }
    for (const socket of sockets) socket.close();
    return "sent";
  },
  async burst(host, port, count) {
    const socket = createSocket("udp4").on("error", () => undefined);
    for (let sent = 0; sent < count; sent += 1) await new Promise((resolve) => socket.send("x", port, host, resolve));
    socket.close();
    return "sent";
  },
  async stream(host, port, bytes, durationMs) {
    const socket = createSocket("udp4").on("error", () => undefined);
    const payload = Buffer.alloc(bytes);
    for (const end = performance.now() + durationMs; performance.now() < end; )
      await new Promise((resolve) => socket.send(payload, port, host, resolve));
    socket.close();
    return "sent";
  },
  async measured(port) {
    const { packets, firstMs, lastMs } = arrivals.get(port) ?? { packets: 0, firstMs: 0, lastMs: 0 };
    arrivals.delete(port);
    return { packets, durationMs: lastMs - firstMs };
  },
};

type Message = { id: number; name: keyof ActorCommands; parameters: never[] };

if (process.send !== undefined) {
  process.on("message", ({ id, name, parameters }: Message) => {
    const command = commands[name] as (...parameters: never[]) => Promise<unknown>;
    void command(...parameters).then((result) => process.send?.({ id, result }));
  });
  process.on("disconnect", () => process.exit(0));
  process.send({ id: 0, result: "ready" });
}
