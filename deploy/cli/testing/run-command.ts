import type { Clock } from "../command.ts";
import type { Io, Output } from "../io.ts";
import { run } from "../run.ts";
import { type FakeStack, fakeStack } from "./fake-stack.ts";

/** What a run did. */
export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stack?: FakeStack;
  /** Standard input; it ends after this. */
  readonly input?: string;
  readonly isTerminal?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
  /** Uses what the environment and the options say in place of a fake stack. */
  readonly isConfigured?: true;
  readonly signal?: AbortSignal;
  /** Holds the command up before it writes to standard output. */
  readonly onWrite?: () => Promise<void>;
  /** Called when the command waits: before its clock goes on by that time. */
  readonly onSleep?: () => void;
}

/** Runs `lobster` in this process against a stack in memory. A wait of the command is over at once, on a clock of its own. */
export async function runCommand(parameters: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const isTerminal = options.isTerminal === true;
  const output = fakeOutput(isTerminal, options.onWrite);
  const errors = fakeOutput(isTerminal);
  const io: Io = {
    input: {
      isTerminal,
      async *chunks() {
        if (options.input !== undefined) yield Buffer.from(options.input);
      },
      makeRaw: () => () => undefined,
    },
    output,
    errors,
  };
  const stack = options.stack ?? fakeStack();
  const status = await run(parameters, {
    io,
    environment: options.environment ?? {},
    signal: options.signal ?? new AbortController().signal,
    clock: skippingClock(options.onSleep),
    ...(options.isConfigured ? {} : { connect: () => stack.clients }),
  });
  return { status, stdout: output.text(), stderr: errors.text() };
}

function fakeOutput(
  isTerminal: boolean,
  onWrite: () => Promise<void> = async () => undefined,
): Output & { text(): string } {
  const parts: Buffer[] = [];
  return {
    isTerminal,
    size: () => ({ columns: 120, rows: 10 }),
    async write(data) {
      await onWrite();
      parts.push(Buffer.from(data));
    },
    onResize: () => () => undefined,
    text: () => Buffer.concat(parts).toString("utf8"),
  };
}

function skippingClock(onSleep: () => void = () => undefined): Clock {
  let nowMs = 1_700_000_000_000;
  return {
    now: () => nowMs,
    async sleep(ms) {
      onSleep();
      nowMs += ms;
      // Lets calls that are under way go on.
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}
