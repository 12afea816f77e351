/**
 * Commands of the host, as the workload's user. Invariants:
 *
 * 1. What a command writes is read when the host takes it: a slow reader stops the command in its pipe or terminal, and memory holds a few
 *    chunks.
 * 2. A command's process group, or with a terminal its session, ends with the command, and with the call. What moved into a session of its
 *    own and holds the output open keeps the call open until the host leaves.
 * 3. A command gets the image's environment and no secret: those are the workload's.
 * 4. A terminal is its command's alone: no other command can open it (terminal.ts), and it is hung up when the call ends.
 */
import type { Readable, Writable } from "node:stream";
import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import {
  type ExecRequest,
  type ExecResponse,
  ExecResponseSchema,
  type ExecStart,
} from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { invalid } from "./errors.ts";
import { startOnPipes } from "./piped-command.ts";
import type { Account, NotStarted, Output, RunningCommand } from "./running-command.ts";
import { StreamPlaces } from "./stream-places.ts";
import type { TerminalSize } from "./terminal.ts";
import { startOnTerminal, type TerminalWish } from "./terminal-command.ts";

/** Every stream takes one of the 16 that a connection may have, and Health has to find one free. */
const concurrentCommands = 4;
const maximumArguments = 256;
const maximumArgumentBytes = 65_536;
const maximumColumnsOrRows = 1000;
const terminalType = /^([A-Za-z0-9][A-Za-z0-9._+-]{0,63})?$/;

/** The handler of Exec. */
export function exec(account: Account, onTerminal: typeof startOnTerminal = startOnTerminal) {
  const places = new StreamPlaces(concurrentCommands);
  return async function* (
    requests: AsyncIterable<ExecRequest>,
    { signal }: Pick<HandlerContext, "signal">,
  ): AsyncGenerator<ExecResponse> {
    const messages = requests[Symbol.asyncIterator]();
    const { command, terminal } = startOf(await messages.next());
    const leave = places.enter();
    try {
      const started = await (terminal === undefined
        ? startOnPipes(account, command)
        : onTerminal(account, command, terminal));
      yield* "message" in started ? failure(started) : run(started, messages, signal);
    } finally {
      leave();
    }
  };
}

type Start = { readonly command: readonly string[]; readonly terminal?: TerminalWish };

function startOf(first: IteratorResult<ExecRequest>): Start {
  const message = first.done === true ? undefined : first.value.message;
  if (message?.case !== "start") throw invalid("start", "must be the first message");
  const { command } = message.value;
  if (command.length < 1 || command.length > maximumArguments) throw invalid("start.command", "1 to 256 arguments");
  if (command.some((argument) => Buffer.byteLength(argument) > maximumArgumentBytes)) {
    throw invalid("start.command", "an argument is at most 64 KiB");
  }
  const terminal = terminalOf(message.value);
  return terminal === undefined ? { command } : { command, terminal };
}

function terminalOf({ terminal, terminalType: type }: ExecStart): TerminalWish | undefined {
  if (!terminalType.test(type)) throw invalid("start.terminal_type", "is not the name of a terminal");
  if (terminal !== undefined) return { size: sizeOf("start.terminal", terminal), type };
  if (type !== "") throw invalid("start.terminal_type", "there is no terminal");
  return undefined;
}

function sizeOf(field: string, { columns, rows }: TerminalSize): TerminalSize {
  const isSize = (count: number) => count >= 1 && count <= maximumColumnsOrRows;
  if (!isSize(columns) || !isSize(rows)) throw invalid(field, "1 to 1000 columns and rows");
  return { columns, rows };
}

function* failure({ message, exitCode }: NotStarted): Generator<ExecResponse> {
  yield answer({ case: "stderr", value: Buffer.from(`${message}\n`) });
  yield answer({ case: "exitCode", value: exitCode });
}

async function* run(
  command: RunningCommand,
  messages: AsyncIterator<ExecRequest>,
  signal: AbortSignal,
): AsyncGenerator<ExecResponse> {
  const cut = () => void command.end();
  signal.addEventListener("abort", cut, { once: true });
  void feed(command, messages);
  try {
    signal.throwIfAborted();
    for await (const { name, chunk } of inOrder(command.outputs)) yield answer({ case: name, value: chunk });
    signal.throwIfAborted();
    yield answer({ case: "exitCode", value: await command.exited });
  } finally {
    signal.removeEventListener("abort", cut);
    await command.end();
  }
}

function answer(message: ExecResponse["message"]): ExecResponse {
  return create(ExecResponseSchema, { message });
}

/** Hands on what the host sends, each when the command has taken the one before. Whatever goes wrong here ends the input only. */
async function feed({ input, resize }: RunningCommand, messages: AsyncIterator<ExecRequest>): Promise<void> {
  // A command that does not read is no fault of anybody.
  input.on("error", () => undefined);
  try {
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
      const { message } = next.value;
      if (message.case === "stdin") await write(input, message.value);
      else if (message.case === "resize") await resize?.(sizeOf("resize", message.value));
      else if (message.case === "stdinEnd" && resize === undefined) break;
    }
    if (resize === undefined) input.end();
  } catch {
    input.destroy();
  }
}

function write(input: Writable, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => input.write(bytes, () => resolve()));
}

/** The chunks of all streams as they come. Of each at most one is taken before the last was handed on (invariant 1). */
async function* inOrder(streams: Readonly<Partial<Record<Output, Readable>>>) {
  const step = async (name: Output, chunks: AsyncIterator<Buffer>) => ({ name, chunks, next: await chunks.next() });
  const pending = new Map<Output, ReturnType<typeof step>>();
  for (const name of ["stdout", "stderr"] as const) {
    const stream = streams[name];
    if (stream !== undefined) pending.set(name, step(name, stream[Symbol.asyncIterator]()));
  }
  while (pending.size > 0) {
    const { name, chunks, next } = await Promise.race(pending.values());
    if (next.done === true) {
      pending.delete(name);
      continue;
    }
    yield { name, chunk: next.value };
    pending.set(name, step(name, chunks));
  }
}
