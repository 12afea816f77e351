import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import type { Writable } from "node:stream";

/** image/standby-calls.ts */
export const standbyCallsPath = "/opt/agent/standby-calls";

/** A `struct timespec`; one of 0 seconds asks for `sync`. */
const requestBytes = 16;
const limitMs = 10_000;

type Program = { readonly input: Writable; readonly answers: EventEmitter; readonly ended: AbortSignal; end(): void };

/**
 * Makes the two system calls that Node cannot, by a program of a page that waits for them. Starting one out of this process costs an emulated guest a tenth
 * of a second, and half of one when it was just loaded: all of the agent's memory is marked and copied for it. Calls go one after the other; a program that ended or
 * hangs is replaced by the next call's.
 */
export class StandbyCalls {
  readonly #path: string;
  #program: Program | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(path: string = standbyCallsPath) {
    this.#path = path;
  }

  /** Starts the program, if it does not wait already. */
  start(): Program {
    this.#program ??= startProgram(this.#path, () => {
      this.#program = undefined;
    });
    return this.#program;
  }

  /** Writes out every file system; what was written before is on its disk afterwards. */
  sync(): Promise<void> {
    return this.#call(0);
  }

  /** Sets the machine's clock to this time, in milliseconds since 1970; of its first second none is possible. */
  setClock(ms: number): Promise<void> {
    return this.#call(ms);
  }

  #call(ms: number): Promise<void> {
    const done = this.#turn.then(() => ask(this.start(), ms));
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

function startProgram(path: string, onEnd: () => void): Program {
  const child = spawn(path, [], { stdio: ["pipe", "pipe", "ignore"], env: {} });
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
  child.stdout.on("data", (answer: Buffer) => answers.emit("answer", answer[0]));
  return { input: child.stdin, answers, ended: ended.signal, end };
}

async function ask(program: Program, ms: number): Promise<void> {
  try {
    const signal = AbortSignal.any([AbortSignal.timeout(limitMs), program.ended]);
    const answer = once(program.answers, "answer", { signal });
    program.input.write(timespec(ms));
    const [errorNumber] = await answer;
    if (errorNumber !== 0) throw new Error(`the kernel refused it with error ${errorNumber}`);
  } catch (cause) {
    program.end();
    throw new Error(ms === 0 ? "the file systems were not written out" : `the clock was not set to ${ms}`, { cause });
  }
}

function timespec(ms: number): Buffer {
  const seconds = Math.floor(ms / 1000);
  const request = Buffer.alloc(requestBytes);
  request.writeBigInt64LE(BigInt(seconds), 0);
  request.writeBigInt64LE(BigInt(Math.floor((ms - seconds * 1000) * 1e6)), 8);
  return request;
}
