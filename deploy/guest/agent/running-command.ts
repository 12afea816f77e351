/** What pipes and terminals have in common. */
import type { ChildProcess } from "node:child_process";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import type { TerminalSize } from "./terminal.ts";
import type { WorkloadManifest } from "./workload-manifest.ts";

/** Whom a command runs as, and with which variables. */
export type Account = Pick<WorkloadManifest, "user" | "environment">;

export type Output = "stdout" | "stderr";

export type RunningCommand = {
  readonly input: Writable;
  readonly outputs: Readonly<Partial<Record<Output, Readable>>>;
  /** Its exit code, or 128 and the number of the signal that ended it. What was left of it is killed by then. */
  readonly exited: Promise<number>;
  /** A terminal's only. */
  readonly resize?: (size: TerminalSize) => Promise<void>;
  /** Ends it with what it has started, and its outputs; resolves when they were. Safe to repeat. */
  readonly end: () => Promise<void>;
};

/** The exit code that shells give it, and why. */
export type NotStarted = { readonly exitCode: number; readonly message: string };

const notFoundCode = 127;
const notRunnableCode = 126;
const signalBase = 128;

/** How a child process is started as the workload's user. */
export function spawnOptions({ user, environment }: Account) {
  return { uid: user.uid, gid: user.gid, cwd: environment["HOME"] ?? "/", env: { ...environment } };
}

/** The exit code of a child. `killRest` is called as soon as it has ended: its id is not given to another process for as long as somebody is in its group or session. */
export function exitCodeOf(child: ChildProcess, killRest: () => void): Promise<number> {
  return new Promise((resolve) =>
    child.once("exit", (code, signal) => {
      killRest();
      resolve(code ?? signalBase + (signal === null ? 0 : constants.signals[signal]));
    }),
  );
}

export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

export function notStarted(error: unknown): NotStarted {
  const { code = "", message } = error as NodeJS.ErrnoException;
  return { exitCode: code === "ENOENT" ? notFoundCode : notRunnableCode, message };
}
