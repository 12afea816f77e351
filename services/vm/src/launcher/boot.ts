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
  /** Files of the VM's cgroup into which a process that moves itself writes 0; the kill's hierarchy first. */
  readonly cgroupFiles: readonly string[];
}

/** A VMM that is initialised with its CPUs stopped. */
export interface StoppedVmm {
  /** Times of performance.now(): when the jail was complete and the VMM's own start began, and when the VMM answered. */
  readonly jailBuiltMs: number;
  readonly answeredMs: number;
  /** Lets guest code run and returns when the VMM says that it does. */
  resume(): Promise<void>;
  /** Gives up the start-up monitor and the error pipe; the VMM goes on without them. */
  release(): void;
}

/**
 * Runs jail.sh: `requireMember` is called with its pid once it says that it is in the VM's cgroup, and it does nothing else before that
 * returned. Returns when the VMM answers on the inherited monitor, which is after all its devices were made. Throws VMM_FAILED with the
 * tail of its error output; the caller kills what is left.
 */
export async function bootVmm(
  script: string,
  jail: JailArguments,
  command: readonly string[],
  requireMember: (pid: number) => void,
): Promise<StoppedVmm> {
  const { network, tree, image, overlay, uid, fileSizeBytes, cgroupFiles } = jail;
  const places = [jail.jail, network, tree, image, overlay, String(uid), String(fileSizeBytes / 512)];
  // Its own session: a terminal's or a supervisor's signal to the launcher's group must not reach the guests.
  const child = spawn("/bin/sh", [script, "enter", ...places, cgroupFiles.join(":"), ...command], {
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
  const resume = async () => {
    // Asking for the status afterwards would wait for the guest's first instructions, which hold the VMM's lock.
    await monitor.execute("cont");
    if (!monitor.events.has("RESUME")) throw new LauncherError("VMM_FAILED", `the VMM does not run: ${errors()}`);
  };
  try {
    if (child.pid === undefined) throw new Error("the jail script could not be started");
    await monitor.expect("joined");
    requireMember(child.pid);
    child.stdin?.end("go\n");
    await monitor.expect("built");
    const jailBuiltMs = performance.now();
    await monitor.execute("qmp_capabilities");
    const answeredMs = performance.now();
    await ended;
    return { jailBuiltMs, answeredMs, resume, release };
  } catch (error) {
    child.stdin?.destroy();
    release();
    throw new LauncherError("VMM_FAILED", `${(error as Error).message}: ${errors()}`.slice(0, 2048));
  }
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

interface Monitor {
  /** Waits for a line of jail.sh, which has the monitor until it becomes the VMM. */
  expect(line: "joined" | "built"): Promise<void>;
  execute(command: string): Promise<unknown>;
  /** Names of the events that came before the last answer. */
  readonly events: ReadonlySet<string>;
}

/** The VMM's machine protocol: one JSON object a line each way. Its answers are untrusted and bounded. */
function openMonitor(socket: Socket): Monitor {
  let received = 0;
  const events = new Set<string>();
  socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
    if (received > maxMonitorBytes) socket.destroy(new Error("the VMM sent too much"));
  });
  const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
  socket.on("error", () => {});
  const nextLine = async (): Promise<string> => {
    const line = await lines.next();
    if (line.done === true) throw new Error("the VMM ended while it started");
    return line.value;
  };
  const nextAnswer = async (): Promise<unknown> => {
    for (;;) {
      const message = JSON.parse(await nextLine()) as { return?: unknown; error?: unknown; event?: unknown };
      if (typeof message.event === "string") events.add(message.event);
      if (message.error !== undefined) throw new Error("the VMM refused a monitor command");
      if (message.return !== undefined) return message.return;
    }
  };
  const inTime = async <T>(answer: () => Promise<T>): Promise<T> => {
    const timer = setTimeout(() => socket.destroy(), bootWithinMs);
    try {
      return await answer();
    } finally {
      clearTimeout(timer);
    }
  };
  return {
    events,
    async expect(line) {
      const found = await inTime(nextLine);
      if (found !== line) throw new Error(`the jail script did not come to "${line}"`);
    },
    execute: (command) => {
      socket.write(`${JSON.stringify({ execute: command })}\n`);
      return inTime(nextAnswer);
    },
  };
}
