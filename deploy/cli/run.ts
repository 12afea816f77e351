import type { StackClients } from "../client/clients.ts";
import { connectStack } from "../client/clients.ts";
import { type Clock, type Context, UsageError, type Words } from "./command.ts";
import { commands } from "./commands.ts";
import { readConfiguration, requireReadable } from "./configuration.ts";
import { describeFailure, exitStatus, failureText } from "./failure.ts";
import { commandHelp, configurationHelp, groupHelp, overview } from "./help.ts";
import type { Io } from "./io.ts";
import { findCommand, type Parsed, parse } from "./parse.ts";

/** What the process gives to a run. */
export interface Surroundings {
  readonly io: Io;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** Replaces the connection that the configuration leads to. */
  readonly connect?: () => StackClients;
}

const maxTimeoutSeconds = 3600;

/** Runs the command that `parameters` name and resolves with its exit status. Failures are shown, not thrown. */
export async function run(parameters: readonly string[], surroundings: Surroundings): Promise<number> {
  const { io, signal } = surroundings;
  let parsed: Parsed | undefined;
  try {
    parsed = parse(parameters, commands);
    if (parsed.command === undefined) return await runHelp(parsed, io);
    if (!parsed.words.has("help")) return await parsed.command.run(parsed.words, contextOf(parsed.words, surroundings));
    await io.output.write(commandHelp(parsed.command));
    return exitStatus.ok;
  } catch (error) {
    const name = findCommand(parameters, commands)?.command.name;
    const failure = describeFailure(error, signal.aborted);
    const wantsJson = parsed === undefined ? beforeEnd(parameters).includes("--json") : parsed.words.has("json");
    await io.errors.write(failureText(failure, wantsJson));
    if (error instanceof UsageError && !wantsJson) await io.errors.write(hint(name));
    return name === "exec" && !signal.aborted ? exitStatus.execFailed : failure.exitStatus;
  }
}

function contextOf(words: Words, { io, environment, signal, clock, connect }: Surroundings): Context {
  const timeoutSeconds = words.count("timeout", maxTimeoutSeconds);
  let clients: StackClients | undefined;
  const connectConfigured = () => {
    const addresses = readConfiguration((option) => words.text(option), environment);
    requireReadable(addresses);
    return connectStack(addresses, timeoutSeconds === undefined ? undefined : timeoutSeconds * 1000);
  };
  return {
    get clients() {
      clients ??= (connect ?? connectConfigured)();
      return clients;
    },
    ...{ io, signal, clock, environment, wantsJson: words.has("json") },
  };
}

async function runHelp(parsed: Parsed & { readonly command: undefined }, io: Io): Promise<number> {
  const [first, ...rest] = parsed.path;
  const topic = first === "help" ? rest : parsed.path;
  const text = helpOn(topic);
  if (text === undefined) throw new UsageError(`there is no command ${topic.join(" ")}`);
  if (first === "help" || parsed.wantsHelp) {
    await io.output.write(text);
    return exitStatus.ok;
  }
  await io.errors.write(text);
  return exitStatus.usage;
}

/** Help on a command, a group or a topic; on everything without one. */
function helpOn(topic: readonly string[]): string | undefined {
  const [first] = topic;
  if (first === undefined) return overview(commands);
  if (first === "configuration") return configurationHelp();
  const command = commands.find(({ name }) => name === topic.join(" "));
  if (command !== undefined) return commandHelp(command);
  return topic.length === 1 ? groupHelp(first, commands) : undefined;
}

function hint(name: string | undefined): string {
  return `try: lobster ${name === undefined ? "" : `${name} `}--help\n`;
}

function beforeEnd(parameters: readonly string[]): readonly string[] {
  const end = parameters.indexOf("--");
  return end < 0 ? parameters : parameters.slice(0, end);
}
