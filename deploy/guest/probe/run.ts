import { execFile } from "node:child_process";
import { workloadUser } from "../image/contents.ts";

const maximumOutputBytes = 256 * 1024;
const maximumTimeoutMs = 60_000;

export interface Run {
  readonly command: readonly string[];
  /** Default: 10 s. */
  readonly timeoutMs?: number;
  /** Who runs it: the ordinary user that other images' workloads run as, or root. Default: the ordinary user. */
  readonly user?: "workload" | "root";
}

export interface RunResult {
  /** -1: it was not found, printed too much, or was killed. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command and waits for its end. */
export function runCommand({ command, timeoutMs = 10_000, user = "workload" }: Run): Promise<RunResult> {
  const [file, ...rest] = command;
  if (file === undefined) throw new Error("command is a list of strings");
  if (!(timeoutMs > 0 && timeoutMs <= maximumTimeoutMs)) throw new Error("timeoutMs is 1 to 60000");
  const { uid, gid } = user === "root" ? { uid: 0, gid: 0 } : workloadUser;
  return new Promise((resolve) => {
    const options = { timeout: timeoutMs, maxBuffer: maximumOutputBytes, uid, gid };
    const child = execFile(file, rest, options, (error, stdout, stderr) => {
      const message = error === null ? stderr : `${stderr}${error.message}`;
      resolve({ exitCode: child.exitCode ?? -1, stdout, stderr: message });
    });
  });
}
