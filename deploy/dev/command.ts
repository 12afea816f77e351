import { execFile } from "node:child_process";

/** What a finished command printed. `status` is 0 unless `allowFailure` was given. */
export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Default 30 s. */
  readonly timeoutMs?: number;
  /** Default 4 MiB for each stream. */
  readonly maxOutputBytes?: number;
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  /** Return a non-zero status instead of throwing it. A command that cannot be started or takes too long always throws. */
  readonly allowFailure?: boolean;
}

/** A command that failed, with the end of what it said. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Runs `argv` without a shell and waits for its end. Throws `CommandError` that names the command and its last lines. */
export function run(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [file, ...parameters] = argv;
  if (file === undefined) throw new RangeError("empty command");
  const timeoutMs = options.timeoutMs ?? 30_000;
  return new Promise((resolve, reject) => {
    execFile(
      file,
      parameters,
      {
        timeout: timeoutMs,
        killSignal: "SIGKILL",
        maxBuffer: options.maxOutputBytes ?? 4 * 1024 * 1024,
        encoding: "utf8",
        cwd: options.workingDirectory ?? "/",
        // The C locale keeps what the tools print parseable on every machine.
        env: { PATH: systemPath, LC_ALL: "C", ...options.environment },
      },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : error.code;
        if (typeof status === "number" && (status === 0 || options.allowFailure === true)) {
          resolve({ status, stdout, stderr });
          return;
        }
        const cause = error?.killed === true ? `did not end within ${timeoutMs} ms` : `failed (${String(status)})`;
        const said = (stderr.trim() || stdout.trim()).split("\n").slice(-5).join("\n");
        reject(new CommandError(`${argv.join(" ")} ${cause}${said === "" ? "" : `:\n${said}`}`, { cause: error }));
      },
    );
  });
}
