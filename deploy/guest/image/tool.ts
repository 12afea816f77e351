import { execFile } from "node:child_process";

/** Where a tool runs, its environment in place of a fixed one, and how long and how much it may run and print: ms, bytes. */
export type ToolLimits = {
  readonly cwd?: string;
  readonly environment?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
  readonly maxOutputBytes?: number;
};

/** A tool ended with a failure; the message holds the last of what it printed. */
export class ToolError extends Error {
  override readonly name = "ToolError";
}

/** Runs `argv` (no shell), returns what it printed on standard output. Throws ToolError on any exit but 0. */
export function runTool(argv: readonly [string, ...string[]], limits: ToolLimits = {}): Promise<string> {
  const [file, ...rest] = argv;
  const options = {
    timeout: limits.timeoutMs ?? 120_000,
    maxBuffer: limits.maxOutputBytes ?? 4 * 1024 * 1024,
    // Without a fixed locale apt and mkfs translate their messages and sort by the caller's rules.
    env: limits.environment ?? {
      PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
      LC_ALL: "C",
      DEBIAN_FRONTEND: "noninteractive",
    },
    ...(limits.cwd === undefined ? {} : { cwd: limits.cwd }),
  };
  return new Promise((resolve, reject) => {
    execFile(file, rest, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new ToolError(`${file}: ${error.message}\n${stderr.slice(-2000)}`, { cause: error }));
    });
  });
}
