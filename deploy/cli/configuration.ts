import { accessSync, constants, readFileSync } from "node:fs";
import { join } from "node:path";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import { z } from "zod";
import { parseAddress, type StackAddresses } from "../client/clients.ts";
import { type Option, UsageError } from "./command.ts";

/** A setting: its option and its key in the file are made from `key`, and `variable` is what `make up` writes. */
interface Setting {
  readonly key: string;
  readonly option: string;
  readonly variable: keyof StackAddresses;
  readonly value: string;
  readonly help: string;
}

const settings: readonly Setting[] = [
  { key: "grpc", option: "grpc", variable: "LOBSTERD_GRPC", value: "ADDRESS", help: "vm" },
  { key: "grpcNet", option: "grpc-net", variable: "LOBSTERD_GRPC_NET", value: "ADDRESS", help: "net" },
  { key: "grpcProxy", option: "grpc-proxy", variable: "LOBSTERD_GRPC_PROXY", value: "ADDRESS", help: "proxy" },
  { key: "grpcSecrets", option: "grpc-secrets", variable: "LOBSTERD_GRPC_SECRETS", value: "ADDRESS", help: "secrets" },
  { key: "grpcAudit", option: "grpc-audit", variable: "LOBSTERD_GRPC_AUDIT", value: "ADDRESS", help: "audit" },
  { key: "domain", option: "domain", variable: "LOBSTERD_DOMAIN", value: "NAME", help: "trust domain of the services" },
  { key: "ca", option: "ca", variable: "LOBSTERD_CA", value: "FILE", help: "certificate of the platform's authority" },
  { key: "cert", option: "cert", variable: "LOBSTERD_CERT", value: "FILE", help: "client certificate" },
  { key: "key", option: "key", variable: "LOBSTERD_KEY", value: "FILE", help: "its private key" },
];

/** The options that say where the services are and who calls. */
export const connectionOptions: Readonly<Record<string, Option>> = Object.fromEntries([
  ...settings.map(({ option, variable, value, help }) => [option, { value, help: `${help} ($${variable})` }]),
  ["config", { value: "FILE", help: "file with these ($LOBSTER_CONFIG, or ~/.config/lobster/config.json)" }],
]);

const fileSchema = z.strictObject(Object.fromEntries(settings.map(({ key }) => [key, z.string().min(1).optional()])));
const maxFileBytes = 64 * 1024;

/** Settings by option, then by environment, then by file. Throws `UsageError` that names every one that is missing or wrong. */
export function readConfiguration(
  option: (name: string) => string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): StackAddresses {
  const file = readFile(option("config"), environment);
  const values = new Map<string, string>();
  const faults: string[] = [];
  for (const setting of settings) {
    const value = option(setting.option) ?? (environment[setting.variable] || undefined) ?? file[setting.key];
    if (value === undefined) faults.push(`--${setting.option} (or $${setting.variable}) is missing`);
    else if (setting.value === "ADDRESS" && parseAddress(value) === undefined)
      faults.push(`--${setting.option} (or $${setting.variable}) is not HOST:PORT or unix:/PATH: ${value}`);
    else values.set(setting.variable, value);
  }
  if (faults.length > 0) throw new UsageError(`not configured: ${faults.join("; ")}. See: lobster help configuration`);
  return addresses(values);
}

function addresses(values: ReadonlyMap<string, string>): StackAddresses {
  const value = (variable: keyof StackAddresses) => values.get(variable) ?? "";
  return {
    LOBSTERD_GRPC: value("LOBSTERD_GRPC"),
    LOBSTERD_GRPC_NET: value("LOBSTERD_GRPC_NET"),
    LOBSTERD_GRPC_PROXY: value("LOBSTERD_GRPC_PROXY"),
    LOBSTERD_GRPC_SECRETS: value("LOBSTERD_GRPC_SECRETS"),
    LOBSTERD_GRPC_AUDIT: value("LOBSTERD_GRPC_AUDIT"),
    LOBSTERD_DOMAIN: value("LOBSTERD_DOMAIN"),
    LOBSTERD_CA: value("LOBSTERD_CA"),
    LOBSTERD_CERT: value("LOBSTERD_CERT"),
    LOBSTERD_KEY: value("LOBSTERD_KEY"),
  };
}

/** Throws `UsageError` unless the files can be read: found out at the first call, it would look like a service that is away. */
export function requireReadable({ LOBSTERD_CA, LOBSTERD_CERT, LOBSTERD_KEY }: StackAddresses): void {
  for (const path of [LOBSTERD_CA, LOBSTERD_CERT, LOBSTERD_KEY]) {
    try {
      accessSync(path, constants.R_OK);
    } catch {
      throw new UsageError(`cannot read ${path}`);
    }
  }
}

/** The file's settings. One that was asked for has to be there; the usual one need not. */
function readFile(
  asked: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string | undefined>> {
  const named = asked ?? (environment["LOBSTER_CONFIG"] || undefined);
  const base = environment["XDG_CONFIG_HOME"] || join(environment["HOME"] || "/", ".config");
  const path = named ?? join(base, "lobster/config.json");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (named === undefined && isAbsence(error)) return {};
    throw new UsageError(`cannot read the configuration: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (text.length > maxFileBytes) throw new UsageError(`${path} is larger than 64 KiB`);
  return parseFile(path, text);
}

function parseFile(path: string, text: string): Readonly<Record<string, string | undefined>> {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new UsageError(`${path} is not JSON`);
  }
  const parsed = fileSchema.safeParse(document);
  if (!parsed.success) throw new UsageError(`${path}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}
