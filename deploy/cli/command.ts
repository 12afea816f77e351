import type { StackClients } from "../client/clients.ts";
import type { Io } from "./io.ts";

/** What an operand or the value of an option may be completed with: the tenants there are, or a closed set. */
export type Completion = "tenant" | readonly string[];

/** A word of a command that is no option. */
export interface Operand {
  /** As help shows it, such as `TENANT`. */
  readonly name: string;
  readonly help: string;
  readonly completion?: Completion;
  /** Takes every word that is left, at least one unless it is optional. Only the last operand may. */
  readonly isRest?: true;
  readonly isOptional?: true;
}

/** An option. One without `value` is a switch. */
export interface Option {
  /** Name of the value as help shows it, such as `FILE`. */
  readonly value?: string;
  readonly help: string;
  readonly short?: string;
  readonly isRepeatable?: true;
  /** A value outside of it is a usage error. */
  readonly choices?: readonly string[];
}

/** One command. Parsing, help and completion are made from this. */
export interface Command {
  /** One word, or a group and a word, such as `secret put`. */
  readonly name: string;
  readonly summary: string;
  readonly operands: readonly Operand[];
  readonly options: Readonly<Record<string, Option>>;
  /** Lines under the help's options. */
  readonly notes?: string;
  /** Resolves with the exit status. Throws `UsageError`, or what a call threw. */
  run(words: Words, context: Context): Promise<number>;
}

/** What was given to a command. */
export interface Words {
  /** The operand of that name. */
  operand(name: string): string;
  /** The words of the operand that takes the rest. */
  rest(): readonly string[];
  has(option: string): boolean;
  text(option: string): string | undefined;
  texts(option: string): readonly string[];
  /** A whole number of at most `max`; anything else is a usage error. */
  count(option: string, max: number): number | undefined;
}

/** What a command works with. */
export interface Context {
  /** Connects at the first use. Throws `UsageError` when an address or a certificate is not configured. */
  readonly clients: StackClients;
  readonly io: Io;
  readonly wantsJson: boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Aborted when the user interrupts the command. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

export interface Clock {
  now(): number;
  /** Resolves after `ms`, or early when `signal` is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** What was typed is not what the command takes; its message is for the user. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
