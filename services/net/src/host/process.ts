import { spawn } from "node:child_process";

const defaultTimeoutMs = 10_000;
const defaultMaxOutputBytes = 16 * 1024 * 1024;
const maxErrorCharacters = 2000;

/** Where Debian keeps `ip`, `nft`, `conntrack`, `ss` and util-linux; the caller's own environment is not passed on. */
const environment = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" };

export type Argv = readonly [string, ...string[]];

export interface RunOptions {
  /** Written to standard input, which is then closed. */
  readonly input?: string;
  readonly timeoutMs?: number;
  /** Bound of standard output and standard error together. */
  readonly maxOutputBytes?: number;
}

/** A program that could not be started, ran too long, printed too much, or ended with a status other than 0. */
export class ProcessFailed extends Error {
  override readonly name = "ProcessFailed";
  readonly argv: Argv;
  readonly status: number | undefined;
  readonly stderr: string;

  constructor(argv: Argv, cause: string, status: number | undefined, stderr: string) {
    super(`${argv.join(" ").slice(0, 200)}: ${cause}${stderr === "" ? "" : `: ${stderr.trim()}`}`);
    this.argv = argv;
    this.status = status;
    this.stderr = stderr;
  }
}

/** Runs programs, always by argument vector. */
export interface ProcessRunner {
  /** Standard output of a program that ended with status 0; throws `ProcessFailed` otherwise. */
  run(argv: Argv, options?: RunOptions): Promise<string>;
  /** The same, with every program entered into the network namespace of `path`. */
  within(path: string): ProcessRunner;
}

/** `namespacePath`: network namespace to run programs in; without it, that of this process. */
export function createProcessRunner(namespacePath?: string): ProcessRunner {
  return {
    run: (argv, options = {}) => execute(namespacePath === undefined ? argv : entering(namespacePath, argv), options),
    within: (path) => createProcessRunner(path),
  };
}

// nsenter changes the network namespace only. `ip -n` would also unshare the mount namespace and remount /sys, which costs
// more, and it looks for names under /var/run/netns alone.
function entering(path: string, argv: Argv): Argv {
  return ["nsenter", `--net=${path}`, "--", ...argv];
}

function execute(argv: Argv, options: RunOptions): Promise<string> {
  const { timeoutMs = defaultTimeoutMs, maxOutputBytes = defaultMaxOutputBytes } = options;
  return new Promise((resolve, reject) => {
    const [program, ...parameters] = argv;
    const child = spawn(program, parameters, { env: environment, stdio: ["pipe", "pipe", "pipe"] });
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    let bytes = 0;
    let cause: string | undefined;
    const stop = (why: string): void => {
      cause ??= why;
      child.kill("SIGKILL");
    };
    const timer = setTimeout(() => stop(`no end within ${timeoutMs} ms`), timeoutMs);
    const collect = (into: Buffer[]) => (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxOutputBytes) stop(`more than ${maxOutputBytes} bytes of output`);
      else into.push(chunk);
    };
    child.stdout.on("data", collect(output));
    child.stderr.on("data", collect(errors));
    // A program that ends without reading its input is judged by its status, not by the broken pipe.
    child.stdin.on("error", (error) => {
      if (!("code" in error && (error.code === "EPIPE" || error.code === "ECONNRESET"))) stop(error.message);
    });
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(new ProcessFailed(argv, error.message, undefined, ""));
    });
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      if (cause === undefined && status === 0) return resolve(Buffer.concat(output).toString("utf8"));
      const stderr = Buffer.concat(errors).toString("utf8").slice(0, maxErrorCharacters);
      reject(new ProcessFailed(argv, cause ?? `ended with ${status ?? signal}`, status ?? undefined, stderr));
    });
    child.stdin.end(options.input ?? "");
  });
}
