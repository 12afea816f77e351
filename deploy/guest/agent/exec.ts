/**
 * Commands of the host, as the workload's user. Invariants:
 *
 * 1. What a command writes is read when the host takes it: a slow reader stops the command in its pipe, and memory holds a few chunks.
 * 2. A command's process group ends with the command, and with the call. What moved into a session of its own and holds the output open
 *    keeps the call open until the host leaves.
 * 3. A command gets the image's environment and no secret: those are the workload's.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { type ExecRequest, type ExecResponse, ExecResponseSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { fail, invalid } from "./errors.ts";
import { signalGroup } from "./process-group.ts";
import { StreamPlaces } from "./stream-places.ts";
import type { WorkloadManifest } from "./workload-manifest.ts";

/** Whom a command runs as, and with which variables. */
export type Account = Pick<WorkloadManifest, "user" | "environment">;

type Child = ChildProcessByStdio<Writable, Readable, Readable>;
type Output = "stdout" | "stderr";

/** Every stream takes one of the 16 that a connection may have, and Health has to find one free. */
const concurrentCommands = 4;
const maximumArguments = 256;
const maximumArgumentBytes = 65_536;
/** As shells say it. */
const notFoundCode = 127;
const notRunnableCode = 126;
const signalBase = 128;

/** The handler of Exec. */
export function exec(account: Account) {
  const places = new StreamPlaces(concurrentCommands);
  return async function* (
    requests: AsyncIterable<ExecRequest>,
    { signal }: Pick<HandlerContext, "signal">,
  ): AsyncGenerator<ExecResponse> {
    const messages = requests[Symbol.asyncIterator]();
    const command = commandOf(await messages.next());
    const leave = places.enter();
    try {
      yield* run(account, command, messages, signal);
    } finally {
      leave();
    }
  };
}

function commandOf(first: IteratorResult<ExecRequest>): readonly string[] {
  const message = first.done === true ? undefined : first.value.message;
  if (message?.case !== "start") throw invalid("start", "must be the first message");
  const { command, terminal } = message.value;
  if (terminal !== undefined) throw fail("TERMINAL_NOT_OFFERED", "this image has nothing that makes a terminal");
  if (command.length < 1 || command.length > maximumArguments) throw invalid("start.command", "1 to 256 arguments");
  if (command.some((argument) => Buffer.byteLength(argument) > maximumArgumentBytes)) {
    throw invalid("start.command", "an argument is at most 64 KiB");
  }
  return command;
}

async function* run(
  account: Account,
  command: readonly string[],
  messages: AsyncIterator<ExecRequest>,
  signal: AbortSignal,
): AsyncGenerator<ExecResponse> {
  signal.throwIfAborted();
  const started = await start(account, command);
  if ("exitCode" in started) {
    yield answer({ case: "stderr", value: Buffer.from(`${started.message}\n`) });
    yield answer({ case: "exitCode", value: started.exitCode });
    return;
  }
  const { child, exited } = started;
  const cut = () => {
    if (child.exitCode === null && child.signalCode === null) killGroup(child);
    child.stdout.destroy();
    child.stderr.destroy();
  };
  signal.addEventListener("abort", cut, { once: true });
  void feed(child.stdin, messages);
  try {
    for await (const { name, chunk } of inOrder({ stdout: child.stdout, stderr: child.stderr })) {
      yield answer({ case: name, value: chunk });
    }
    signal.throwIfAborted();
    yield answer({ case: "exitCode", value: await exited });
  } finally {
    signal.removeEventListener("abort", cut);
    cut();
  }
}

function answer(message: ExecResponse["message"]): ExecResponse {
  return create(ExecResponseSchema, { message });
}

type Started = { readonly child: Child; readonly exited: Promise<number> };
type NotStarted = { readonly exitCode: number; readonly message: string };

async function start(account: Account, command: readonly string[]): Promise<Started | NotStarted> {
  const { user, environment } = account;
  const [program = "", ...rest] = command;
  try {
    const child = spawn(program, rest, {
      ...{ uid: user.uid, gid: user.gid, cwd: environment["HOME"] ?? "/", env: { ...environment } },
      stdio: ["pipe", "pipe", "pipe"],
      // Its own session and process group: ending reaches whatever it forked.
      detached: true,
    });
    const exited = new Promise<number>((resolve) =>
      child.once("exit", (code, signal) => {
        // Invariant 2. Its id is not given to another process for as long as somebody is in the group.
        killGroup(child);
        resolve(code ?? signalBase + (signal === null ? 0 : constants.signals[signal]));
      }),
    );
    await once(child, "spawn");
    return { child, exited };
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    return { exitCode: code === "ENOENT" ? notFoundCode : notRunnableCode, message };
  }
}

/** Hands on what the host sends, each when the command has taken the one before. Whatever goes wrong here ends the input only. */
async function feed(stdin: Writable, messages: AsyncIterator<ExecRequest>): Promise<void> {
  // A command that does not read is no fault of anybody.
  stdin.on("error", () => undefined);
  try {
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
      const { message } = next.value;
      if (message.case === "stdinEnd") break;
      if (message.case === "stdin") await new Promise<void>((resolve) => stdin.write(message.value, () => resolve()));
    }
    stdin.end();
  } catch {
    stdin.destroy();
  }
}

/** The chunks of both streams as they come. Of each at most one is taken before the last was handed on (invariant 1). */
async function* inOrder(streams: Readonly<Record<Output, Readable>>) {
  const step = async (name: Output, chunks: AsyncIterator<Buffer>) => ({ name, chunks, next: await chunks.next() });
  const pending = new Map<Output, ReturnType<typeof step>>();
  for (const name of ["stdout", "stderr"] as const)
    pending.set(name, step(name, streams[name][Symbol.asyncIterator]()));
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

function killGroup({ pid }: Child): void {
  if (pid !== undefined) signalGroup(pid, "SIGKILL");
}
