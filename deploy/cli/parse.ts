import { parseArgs } from "node:util";
import { type Command, type Option, UsageError, type Words } from "./command.ts";
import { connectionOptions } from "./configuration.ts";

/** Options that every command has. */
export const commonOptions: Readonly<Record<string, Option>> = {
  json: { help: "print JSON; failures as JSON on standard error" },
  timeout: { value: "SECONDS", help: "how long one call may take (default 240)" },
  help: { short: "h", help: "print help" },
  ...connectionOptions,
};

/** A command with what was given to it; without a command when none was named in full. */
export type Parsed =
  | { readonly command: Command; readonly words: Words }
  | {
      readonly command: undefined;
      readonly path: readonly string[];
      readonly wantsHelp: boolean;
      readonly words: Words;
    };

/** Finds the command that `parameters` name and reads its options. Throws `UsageError`. */
export function parse(parameters: readonly string[], commands: readonly Command[]): Parsed {
  const named = findCommand(parameters, commands);
  const options = { ...commonOptions, ...named?.command.options };
  const { values, positionals } = parseOptions(parameters, options);
  const words = new GivenWords(named?.command, options, values, positionals.slice(named?.wordCount ?? 0));
  if (named === undefined) return { command: undefined, path: positionals, wantsHelp: words.has("help"), words };
  if (!words.has("help")) words.check();
  return { command: named.command, words };
}

/** The command that the first words name. Options may stand before it. */
export function findCommand(
  parameters: readonly string[],
  commands: readonly Command[],
): { readonly command: Command; readonly wordCount: number } | undefined {
  const path: string[] = [];
  for (let index = 0; index < parameters.length && path.length < 2; index += 1) {
    const word = parameters[index] ?? "";
    if (word === "--") break;
    if (!word.startsWith("-")) path.push(word);
    else if (path.length === 0 && commonOptions[word.slice(2)]?.value !== undefined) index += 1;
  }
  for (const wordCount of [2, 1]) {
    const name = path.slice(0, wordCount).join(" ");
    const command = commands.find((candidate) => candidate.name === name);
    if (command !== undefined) return { command, wordCount: name.split(" ").length };
  }
  return undefined;
}

type Values = Readonly<Record<string, string | boolean | ReadonlyArray<string | boolean> | undefined>>;

function parseOptions(
  parameters: readonly string[],
  options: Readonly<Record<string, Option>>,
): { readonly values: Values; readonly positionals: readonly string[] } {
  const declared = Object.entries(options).map(([name, { value, short, isRepeatable }]) => [
    name,
    {
      type: value === undefined ? ("boolean" as const) : ("string" as const),
      ...(short === undefined ? {} : { short }),
      ...(isRepeatable ? { multiple: true } : {}),
    },
  ]);
  try {
    return parseArgs({ args: [...parameters], options: Object.fromEntries(declared), allowPositionals: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

class GivenWords implements Words {
  readonly #command: Command | undefined;
  readonly #options: Readonly<Record<string, Option>>;
  readonly #values: Values;
  readonly #operands: readonly string[];

  constructor(
    command: Command | undefined,
    options: Readonly<Record<string, Option>>,
    values: Values,
    operands: readonly string[],
  ) {
    this.#command = command;
    this.#options = options;
    this.#values = values;
    this.#operands = operands;
  }

  operand(name: string): string {
    const index = this.#command?.operands.findIndex((operand) => operand.name === name) ?? -1;
    const value = this.#operands[index];
    if (value === undefined) throw new Error(`${this.#command?.name} has no operand ${name}`);
    return value;
  }

  rest(): readonly string[] {
    return this.#operands.slice((this.#command?.operands.length ?? 1) - 1);
  }

  has(option: string): boolean {
    return this.#valuesOf(option).length > 0;
  }

  text(option: string): string | undefined {
    return this.texts(option)[0];
  }

  texts(option: string): readonly string[] {
    return this.#valuesOf(option).map(String);
  }

  count(option: string, max: number): number | undefined {
    const text = this.text(option);
    if (text === undefined) return undefined;
    if (!/^\d{1,15}$/.test(text) || Number(text) > max)
      throw new UsageError(`--${option} takes a whole number from 0 to ${max}`);
    return Number(text);
  }

  /** Throws `UsageError` unless the operands are as many as declared and every value is one of its choices. */
  check(): void {
    const operands = this.#command?.operands ?? [];
    const hasRest = operands.at(-1)?.isRest === true;
    const missing = operands[this.#operands.length];
    if (missing !== undefined && !missing.isOptional) throw new UsageError(`${missing.name} is missing`);
    if (this.#operands.length > operands.length && !hasRest)
      throw new UsageError(`too many words: ${this.#operands.slice(operands.length).join(" ")}`);
    for (const [name, { choices }] of Object.entries(this.#options)) {
      const wrong = choices && this.texts(name).find((value) => !choices.includes(value));
      if (wrong !== undefined) throw new UsageError(`--${name} is one of ${choices?.join(", ")}, not ${wrong}`);
    }
  }

  #valuesOf(option: string): ReadonlyArray<string | boolean> {
    if (this.#options[option] === undefined) throw new Error(`${this.#command?.name} has no option ${option}`);
    const value = this.#values[option];
    if (value === undefined || value === false) return [];
    return typeof value === "object" ? value : [value];
  }
}
