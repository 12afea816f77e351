import type { ExecTenantResponse } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { type Command, type Context, UsageError, type Words } from "../command.ts";
import { type ExecRequests, openExecRequests } from "../exec-requests.ts";
import type { Output } from "../io.ts";
import { tenantOperand } from "../operands.ts";
import { printableLines } from "../printable.ts";

/** Every image has it. */
const shell = "sh";
/** What the server takes for a type; of a terminal without one it says xterm. */
const terminalType = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/;

export const exec: Command = {
  name: "exec",
  summary: "run a command in a tenant's guest",
  operands: [
    tenantOperand,
    {
      name: "COMMAND",
      help: "the program and its arguments, after --; in a terminal a shell without it",
      isRest: true,
      isOptional: true,
    },
  ],
  options: {
    tty: { short: "t", help: "a terminal for the command; fails where there is none here" },
    interactive: { short: "i", help: "pass input on, which exec always does: for hands that type -it" },
    "no-tty": { help: "pipes, even in a terminal" },
  },
  notes: `In a terminal the command gets a terminal of the same size and type, every key is its own, and what it writes goes to yours as it is.
Without one it gets pipes; what comes then is passed on byte for byte, except to a terminal, where control characters are spelled out.
The exit status is the command's; 125 when the command could not be run. --json is not for exec.`,
  async run(words, context) {
    if (context.wantsJson) throw new UsageError("exec has no --json: its output is the command's");
    const { input, output } = context.io;
    const hasTerminal = wantsTerminal(words, context);
    const requests = openExecRequests(input, {
      name: words.operand("TENANT"),
      command: commandOf(words, hasTerminal),
      ...(hasTerminal ? { terminal: output.size(), terminalType: terminalTypeOf(context) } : {}),
    });
    if (!hasTerminal) return await runExec(context, requests, false);
    const endResize = output.onResize(() => requests.resize(output.size()));
    const endRaw = input.makeRaw();
    try {
      return await runExec(context, requests, true);
    } finally {
      endRaw();
      endResize();
    }
  },
};

function wantsTerminal(words: Words, { io: { input, output } }: Context): boolean {
  const isTerminal = input.isTerminal && output.isTerminal;
  if (!words.has("tty")) return isTerminal && !words.has("no-tty");
  if (words.has("no-tty")) throw new UsageError("--tty and --no-tty exclude one another");
  if (isTerminal) return true;
  throw new UsageError(`--tty: standard ${input.isTerminal ? "output" : "input"} is not a terminal`);
}

function commandOf(words: Words, hasTerminal: boolean): string[] {
  const command = [...words.rest()];
  if (command.length > 0) return command;
  if (!hasTerminal) throw new UsageError("COMMAND is missing: without a terminal there is no shell");
  return [shell];
}

function terminalTypeOf({ environment }: Context): string {
  const { TERM = "" } = environment;
  return terminalType.test(TERM) ? TERM : "";
}

async function runExec({ clients, io, signal }: Context, requests: ExecRequests, isRaw: boolean): Promise<number> {
  const streams = { stdout: passOn(io.output, isRaw), stderr: passOn(io.errors, isRaw) };
  let exitCode: number | undefined;
  // To the end of the stream, not just to the exit code: a stream that is left open holds the server's side of the call.
  for await (const { message } of clients.tenants.execTenant(requests.messages, { signal })) {
    if (message.case === "exitCode") {
      exitCode = message.value;
      requests.end();
    } else {
      await writeOutput(message, streams);
    }
  }
  if (exitCode !== undefined) return exitCode;
  throw new Error("the connection ended before the command did");
}

type Pass = (bytes: Uint8Array) => Promise<void>;

async function writeOutput(message: ExecTenantResponse["message"], streams: { stdout: Pass; stderr: Pass }) {
  if (message.case === "stdout" || message.case === "stderr") await streams[message.case](message.value);
}

/** Writes bytes as they are, or spelled out where a terminal would act on them. */
function passOn(output: Output, isRaw: boolean): Pass {
  if (isRaw || !output.isTerminal) return (bytes) => output.write(bytes);
  const decoder = new TextDecoder();
  return (bytes) => output.write(printableLines(decoder.decode(bytes, { stream: true })));
}
