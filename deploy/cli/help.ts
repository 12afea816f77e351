import type { Command, Operand, Option } from "./command.ts";
import { connectionOptions } from "./configuration.ts";
import { commonOptions } from "./parse.ts";

const statusHelp = `Exit status:
  0    done
  1    failed, or the answer of a check is no
  2    wrong usage, or the server refused a value
  3    not found
  4    a service is away or did not answer in time: worth repeating
  5    this certificate may not do that
  6    conflict: exists already, is busy, or is not in the right state
  7    no room, or a limit
  8    the server does not serve this call
  125  exec itself failed; any other status of exec is its command's
  130  interrupted
`;

/** Everything there is. */
export function overview(commands: readonly Command[]): string {
  const width = Math.max(...commands.map((command) => synopsis(command).length));
  const list = commands.map((command) => `  ${synopsis(command).padEnd(width)}  ${command.summary}\n`).join("");
  return `usage: lobster COMMAND [OPTIONS]

${list}
lobster COMMAND --help says more about one; lobster help configuration, how it finds the services.

${optionList("Options of every command", localOptions(commonOptions))}
${statusHelp}`;
}

/** The commands of one group, such as `secret`; `undefined` if it has none. */
export function groupHelp(group: string, commands: readonly Command[]): string | undefined {
  const members = commands.filter(({ name }) => name.startsWith(`${group} `));
  if (members.length === 0) return undefined;
  const width = Math.max(...members.map((command) => synopsis(command).length));
  const list = members.map((command) => `  ${synopsis(command).padEnd(width)}  ${command.summary}\n`).join("");
  return `usage: lobster ${group} COMMAND [OPTIONS]\n\n${list}`;
}

/** One command. */
export function commandHelp(command: Command): string {
  const operands = command.operands.map(({ name, help }) => [name, help] as const);
  const parts = [
    `usage: lobster ${synopsis(command)}${Object.keys(command.options).length > 0 ? " [OPTIONS]" : ""}\n\n${command.summary}\n`,
    ...(operands.length > 0 ? [pairs("Operands", operands)] : []),
    ...(Object.keys(command.options).length > 0 ? [optionList("Options", command.options)] : []),
    ...(command.notes === undefined ? [] : [`${command.notes}\n`]),
    optionList("Options of every command", localOptions(commonOptions)),
  ];
  return parts.join("\n");
}

/** How the services are found. */
export function configurationHelp(): string {
  return `lobster finds the services by options, then by the environment (as .run/env of a stack sets it), then by a JSON file.

${optionList("Options", connectionOptions)}
An ADDRESS is HOST:PORT, or unix:/PATH for the socket of a service on this host.

The file is that of --config, of $LOBSTER_CONFIG, or $XDG_CONFIG_HOME/lobster/config.json (~/.config/lobster/config.json). Its keys are
the options in camel case: {"grpc": "localhost:7601", "grpcNet": "localhost:7602", "domain": "lobsterd.localhost", "ca": "/etc/lobster/ca.pem"}
`;
}

/** A command with its operands, as one types it. */
export function synopsis({ name, operands }: Command): string {
  return [name, ...operands.map(operandText)].join(" ");
}

function operandText({ name, isRest, isOptional }: Operand): string {
  const text = isRest ? `-- ${name}...` : name;
  return isOptional ? `[${text}]` : text;
}

function localOptions(options: Readonly<Record<string, Option>>): Readonly<Record<string, Option>> {
  return Object.fromEntries(Object.entries(options).filter(([name]) => connectionOptions[name] === undefined));
}

function optionList(heading: string, options: Readonly<Record<string, Option>>): string {
  const rows = Object.entries(options).map(([name, { value, short, help, choices, isRepeatable }]) => {
    const shown = `${short === undefined ? "" : `-${short}, `}--${name}${value === undefined ? "" : ` ${value}`}`;
    const more = [...(choices === undefined ? [] : [choices.join(", ")]), ...(isRepeatable ? ["may be repeated"] : [])];
    return [shown, more.length === 0 ? help : `${help} (${more.join("; ")})`] as const;
  });
  return pairs(heading, rows);
}

function pairs(heading: string, rows: ReadonlyArray<readonly [name: string, help: string]>): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return `${heading}:\n${rows.map(([name, help]) => `  ${name.padEnd(width)}  ${help}\n`).join("")}`;
}
