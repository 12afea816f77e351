import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { createInterface } from "node:readline";
import { programEnvironment } from "./processes.ts";
import { LauncherError } from "./protocol.ts";

/** Where a descriptor that the VMM is to inherit is in it: behind the socket. */
export const inheritedDescriptor = 4;
const lineWithinMs = 15_000;
const maxReceivedBytes = 64 * 1024;
const maxErrorBytes = 4 * 1024;

/** A script that builds a jail, and the socket (its descriptor 3) on which it says how far it is. */
export interface JailScript {
  /** The next line that it sends. Throws when it ended, is too slow or sent too much. */
  nextLine(): Promise<string>;
  /** Throws unless the next line is this one. */
  expect(line: string): Promise<void>;
  send(line: string): void;
  /** Returns when the started process ended with status 0. */
  ended(): Promise<void>;
  /** VMM_FAILED with the tail of its error output, which a guest can influence: it is bounded and only ever printed as a JSON string. */
  failure(error: unknown): LauncherError;
  /** Gives up the socket and the error output; what the script became goes on without them. */
  release(): void;
}

/**
 * Starts `script enter <parameters>`: it moves itself into the VM's cgroup, says "joined", and does nothing else before `requireMember`
 * returned for its pid. A script that reads the end of its input ends: its launcher is gone. `inherited` is the one descriptor of the
 * launcher's that it has besides; the caller closes its own.
 */
export async function startJailScript(
  script: string,
  parameters: readonly string[],
  requireMember: (pid: number) => void,
  inherited?: number,
): Promise<JailScript> {
  // Its own session: a terminal's or a supervisor's signal to the launcher's group must not reach the guests.
  const child = spawn("/bin/sh", [script, "enter", ...parameters], {
    cwd: "/",
    env: programEnvironment,
    detached: true,
    stdio: ["pipe", "ignore", "pipe", "pipe", ...(inherited === undefined ? [] : [inherited])],
  });
  const socket = child.stdio[3] as Socket;
  const errors = collectErrors(child);
  const exit = once(child, "exit", { signal: AbortSignal.timeout(lineWithinMs) });
  exit.catch(() => {}); // awaited in ended(); a program that could not be started is seen by the socket's end
  const nextLine = lineReader(socket);
  const running: JailScript = {
    nextLine,
    async expect(line) {
      if ((await nextLine()) !== line) throw new Error(`the jail script did not come to "${line}"`);
    },
    send: (line) => void socket.write(`${line}\n`),
    async ended() {
      const [status] = await exit;
      if (status !== 0) throw new Error(`the jail script ended with status ${status}`);
    },
    failure: (error) => new LauncherError("VMM_FAILED", `${(error as Error).message}: ${errors()}`.slice(0, 2048)),
    release() {
      for (const stream of [child.stdin, socket, child.stderr]) stream?.destroy();
      child.unref();
    },
  };
  try {
    if (child.pid === undefined) throw new Error("the jail script could not be started");
    await running.expect("joined");
    requireMember(child.pid);
    child.stdin?.end("go\n");
    return running;
  } catch (error) {
    running.release();
    throw running.failure(error);
  }
}

function collectErrors(child: ChildProcess): () => string {
  let tail = "";
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    tail = (tail + chunk).slice(-maxErrorBytes);
  });
  child.stdin?.on("error", () => {}); // the script's end is seen by its exit
  child.on("error", (error) => {
    tail += error.message;
  });
  return () => tail.trim();
}

function lineReader(socket: Socket): () => Promise<string> {
  let received = 0;
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
    if (received > maxReceivedBytes) socket.destroy(new Error("too much"));
  });
  const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
  return async () => {
    const timer = setTimeout(() => socket.destroy(), lineWithinMs);
    try {
      const line = await lines.next();
      if (line.done === true) throw new Error("the VMM ended while it started");
      return line.value;
    } finally {
      clearTimeout(timer);
    }
  };
}
