import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { createInterface } from "node:readline";
import { programEnvironment } from "./processes.ts";
import { LauncherError } from "./protocol.ts";

const bootWithinMs = 15_000;
const maxMonitorBytes = 64 * 1024;
const maxErrorBytes = 4 * 1024;

/** Positional arguments of jail.sh, in order, without the stage and the VMM's command line. */
export interface JailArguments {
  readonly jail: string;
  readonly network: string;
  readonly tree: string;
  readonly image: string;
  readonly overlay: string;
  readonly uid: number;
  readonly fileSizeBytes: number;
}

/** A VMM that is initialised with its CPUs stopped. */
export interface StoppedVmm {
  /** Lets guest code run and returns when the VMM says that it does. */
  resume(): Promise<void>;
  /** Gives up the start-up monitor and the error pipe; the VMM goes on without them. */
  release(): void;
}

/**
 * Runs jail.sh: `joinCgroup` is called with its pid before it does anything. Returns when the VMM answers on the inherited monitor,
 * which is after all its devices were made. Throws VMM_FAILED with the tail of its error output; the caller kills what is left.
 */
export async function bootVmm(
  script: string,
  jail: JailArguments,
  command: readonly string[],
  joinCgroup: (pid: number) => void,
): Promise<StoppedVmm> {
  const { network, tree, image, overlay, uid, fileSizeBytes } = jail;
  const places = [jail.jail, network, tree, image, overlay, String(uid), String(fileSizeBytes / 512)];
  // Its own session: a terminal's or a supervisor's signal to the launcher's group must not reach the guests.
  const child = spawn("/bin/sh", [script, "enter", ...places, ...command], {
    cwd: "/",
    env: programEnvironment,
    detached: true,
    stdio: ["pipe", "ignore", "pipe", "pipe"],
  });
  const monitorSocket = child.stdio[3] as Socket;
  const errors = collectErrors(child);
  const ended = once(child, "exit", { signal: AbortSignal.timeout(bootWithinMs) });
  ended.catch(() => {}); // awaited below; a program that could not be started is reported by the monitor's end
  const monitor = openMonitor(monitorSocket);
  const release = () => {
    monitorSocket.destroy();
    child.stderr?.destroy();
    child.unref();
  };
  try {
    if (child.pid === undefined) throw new Error("the jail script could not be started");
    joinCgroup(child.pid);
    child.stdin?.end("go\n");
    await monitor.execute("qmp_capabilities");
    await ended;
  } catch (error) {
    child.stdin?.destroy();
    release();
    throw new LauncherError("VMM_FAILED", `${(error as Error).message}: ${errors()}`.slice(0, 2048));
  }
  const resume = async () => {
    await monitor.execute("cont");
    const status = (await monitor.execute("query-status")) as { running?: unknown };
    if (status.running !== true) throw new LauncherError("VMM_FAILED", `the VMM does not run: ${errors()}`);
  };
  return { resume, release };
}

/** The last bytes of the child's error output. A guest can influence them: they are bounded and only ever printed as a JSON string. */
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

/** The VMM's machine protocol: one JSON object a line each way. Events are skipped; its answers are untrusted and bounded. */
function openMonitor(socket: Socket): { execute(command: string): Promise<unknown> } {
  let received = 0;
  socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
    if (received > maxMonitorBytes) socket.destroy(new Error("the VMM sent too much"));
  });
  const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
  socket.on("error", () => {});
  const nextAnswer = async (): Promise<unknown> => {
    for (;;) {
      const line = await lines.next();
      if (line.done === true) throw new Error("the VMM ended while it started");
      const message = JSON.parse(line.value) as { return?: unknown; error?: unknown };
      if (message.error !== undefined) throw new Error("the VMM refused a monitor command");
      if (message.return !== undefined) return message.return;
    }
  };
  return {
    async execute(command) {
      const timer = setTimeout(() => socket.destroy(), bootWithinMs);
      try {
        socket.write(`${JSON.stringify({ execute: command })}\n`);
        return await nextAnswer();
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
