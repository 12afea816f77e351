import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import type { Writable } from "node:stream";
import { LineSplitter } from "./line-splitter.ts";

/** One line, one program: a number is a time to set the clock to, anything else asks for `sync`. The answer is the program's exit code. */
const script = `while read -r time; do
  case $time in
  [0-9]*) /usr/bin/date --utc --set="@$time" ;;
  *) /usr/bin/sync ;;
  esac >/dev/null
  echo $?
done`;
const limitMs = 10_000;

type Shell = { readonly input: Writable; readonly answers: EventEmitter; readonly ended: AbortSignal; end(): void };

/**
 * Runs the two programs of the image that do what Node cannot. Starting one out of this process costs an emulated guest a tenth of a second, and half of one
 * when it was just loaded: all of the agent's memory is marked and copied for it. So a shell waits, as small as a process is, which reads numbers and
 * nothing else. Calls go one after the other; a shell that ended or hangs is replaced by the next call's.
 */
export class StandbyShell {
  #shell: Shell | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  /** Starts the shell, if it does not wait already. */
  start(): Shell {
    this.#shell ??= startShell(() => {
      this.#shell = undefined;
    });
    return this.#shell;
  }

  /** Writes out every file system; what was written before is on its disk afterwards. */
  sync(): Promise<void> {
    return this.#run("sync");
  }

  /** Sets the machine's clock to this time, in milliseconds since 1970. */
  setClock(ms: number): Promise<void> {
    return this.#run((ms / 1000).toFixed(3));
  }

  #run(line: string): Promise<void> {
    const done = this.#turn.then(() => ask(this.start(), line));
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

function startShell(onEnd: () => void): Shell {
  const child = spawn("/usr/bin/sh", ["-c", script], { stdio: ["pipe", "pipe", "ignore"], env: {} });
  const ended = new AbortController();
  const end = () => {
    if (ended.signal.aborted) return;
    ended.abort();
    child.kill("SIGKILL");
    onEnd();
  };
  child.once("error", end).once("exit", end);
  child.stdin.on("error", end);
  const answers = new EventEmitter();
  const lines = new LineSplitter((line) => answers.emit("line", line));
  child.stdout.on("data", (chunk: Buffer) => lines.push(chunk));
  return { input: child.stdin, answers, ended: ended.signal, end };
}

async function ask(shell: Shell, line: string): Promise<void> {
  try {
    const signal = AbortSignal.any([AbortSignal.timeout(limitMs), shell.ended]);
    const answer = once(shell.answers, "line", { signal });
    shell.input.write(`${line}\n`);
    const [code] = await answer;
    if (code !== "0") throw new Error(`it ended with ${code}`);
  } catch (cause) {
    shell.end();
    throw new Error(`the standby shell did not do ${line}`, { cause });
  }
}
