import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Instance } from "./instance.ts";
import { identifyProcess, isAlive, type ProcessIdentity, signalProcess } from "./proc.ts";
import { launchCommand, logPath, type ProcessSpec, processNames } from "./processes.ts";
import type { Accounts } from "./users.ts";

const firstBackoffMs = 100;
const maxBackoffMs = 5000;
/** A process that lived this long starts again at the shortest back-off. */
const settledMs = 10_000;
const stopGraceMs = 10_000;

/** What the supervisor answers about one process. */
export interface ProcessReport {
  readonly name: string;
  readonly state: "running" | "waiting" | "stopped";
  readonly pid?: number;
  readonly startTicks?: string;
  readonly restarts: number;
  /** How it ended the last time: an exit status or a signal. */
  readonly lastEnd?: string;
}

/** One process that is kept running until it is stopped. */
export interface SupervisedProcess {
  readonly spec: ProcessSpec;
  report(): ProcessReport;
  /** The running child, for its socket channel. */
  child(): ChildProcess | undefined;
  start(): void;
  /** Ends it and leaves it ended. */
  stop(): Promise<void>;
  /** Ends it if it runs, and starts it at once. */
  restart(): Promise<void>;
}

/** Where the pid of a process is written down, for a `down` that finds no supervisor. */
export function recordPath(instance: Instance, name: string): string {
  return `${instance.runDir}/process/${name}.json`;
}

/** Every process that a record names; some may have ended. */
export function recordedProcesses(instance: Instance): ProcessIdentity[] {
  return processNames.flatMap((name) => readIdentity(recordPath(instance, name)) ?? []);
}

/** A record written by this program; one cut short by a crash names no process. */
function readIdentity(path: string): ProcessIdentity | undefined {
  if (!existsSync(path)) return undefined;
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value !== "object" || value === null || !("pid" in value) || !("startTicks" in value)) return undefined;
    const { pid, startTicks } = value;
    return typeof pid === "number" && pid > 1 && typeof startTicks === "string" ? { pid, startTicks } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** A process that is not started yet. `note` is told what happens to it. */
export function superviseProcess(
  spec: ProcessSpec,
  instance: Instance,
  accounts: Accounts,
  note: (line: string) => void,
): SupervisedProcess {
  let child: ChildProcess | undefined;
  let identity: ProcessIdentity | undefined;
  let timer: NodeJS.Timeout | undefined;
  let wanted = false;
  let restarts = 0;
  let backoffMs = firstBackoffMs;
  let lastEnd: string | undefined;
  let gone = Promise.resolve();

  const launch = (): void => {
    timer = undefined;
    const startedMs = performance.now();
    const started = spawnProcess(spec, instance, accounts);
    child = started;
    identity = started.pid === undefined ? undefined : identifyProcess(started.pid);
    if (identity !== undefined) {
      writeFileSync(recordPath(instance, spec.name), JSON.stringify(identity), { mode: 0o600 });
    }
    gone = new Promise((resolve) => {
      const end = (how: string): void => {
        if (child !== started) return;
        child = undefined;
        identity = undefined;
        lastEnd = how;
        rmSync(recordPath(instance, spec.name), { force: true });
        resolve();
        if (!wanted) return;
        if (performance.now() - startedMs > settledMs) backoffMs = firstBackoffMs;
        note(`${spec.name} ended (${how}), starting again in ${backoffMs} ms`);
        restarts += 1;
        timer = setTimeout(launch, backoffMs);
        backoffMs = Math.min(backoffMs * 2, maxBackoffMs);
      };
      started.on("exit", (status, signal) => end(signal ?? `status ${status}`));
      started.on("error", (error) => end(error.message));
    });
  };

  const start = (): void => {
    wanted = true;
    if (child === undefined && timer === undefined) launch();
  };
  const stop = async (): Promise<void> => {
    wanted = false;
    clearTimeout(timer);
    timer = undefined;
    const ending = identity;
    if (ending === undefined) return;
    signalProcess(ending, "SIGTERM");
    const overdue = setTimeout(() => signalProcess(ending, "SIGKILL"), stopGraceMs);
    await gone;
    clearTimeout(overdue);
  };

  return {
    spec,
    child: () => child,
    start,
    stop,
    async restart() {
      await stop();
      backoffMs = firstBackoffMs;
      restarts += 1;
      start();
    },
    report: () => ({
      name: spec.name,
      state: identity !== undefined && isAlive(identity) ? "running" : wanted ? "waiting" : "stopped",
      restarts,
      ...(identity ?? {}),
      ...(lastEnd === undefined ? {} : { lastEnd }),
    }),
  };
}

function spawnProcess(spec: ProcessSpec, instance: Instance, accounts: Accounts): ChildProcess {
  const [file = "", ...parameters] = launchCommand(spec, instance, accounts);
  // Appended to, so that the log can be cut off under a running process and the next line starts at the new end.
  const log = openSync(logPath(instance, spec.name), "a");
  const inherited = process.umask(spec.umask);
  try {
    return spawn(file, parameters, {
      cwd: "/",
      env: { ...spec.environment },
      stdio: ["ignore", log, log, ...(spec.socketChannel ? (["ipc"] as const) : [])],
      // A session of its own: Ctrl-C at a supervisor in the foreground must not reach it past the orderly stop.
      detached: true,
    });
  } finally {
    process.umask(inherited);
    closeSync(log);
  }
}
