import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** Where the agent puts files for a workload; docs/architecture.md and the image's manifest name the same paths. */
const secretsDirectory = "/run/secrets";
const configurationPath = "/run/workload/configuration.json";

export const tokenName = "gateway-token";

export type Configuration = { readonly tenant: string; readonly vmId: string; readonly generation: number };
export type Secrets = {
  readonly token: Buffer | undefined;
  /** SHA-256 in hexadecimal of every secret but the token. */
  readonly digests: Readonly<Record<string, string>>;
};

export type Settings = {
  readonly configuration: Configuration;
  /** SHA-256 in hexadecimal of each text beside the platform's own, by its JSON pointer. */
  readonly fields: Readonly<Record<string, string>>;
};

/** Reads what the platform says of this guest, and marks of what operators put beside it. */
export async function readConfiguration(path = configurationPath): Promise<Settings> {
  const { tenant, vmId, generation, ...others } = JSON.parse(await readFile(path, "utf8")) as Configuration;
  return { configuration: { tenant, vmId, generation }, fields: Object.fromEntries(textsIn(others, "")) };
}

function textsIn(value: unknown, pointer: string): [string, string][] {
  if (typeof value === "string") return [[pointer, digestOf(value)]];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, child]) => textsIn(child, `${pointer}/${name}`));
}

/** SHA-256 in hexadecimal of every variable of this process. */
export function environmentDigests(): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, digestOf(value ?? "")]));
}

function digestOf(value: string | Buffer): string {
  return createHash("sha256").update(value).digest("hex");
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return []; // nothing was injected
    throw error;
  }
}

/** Reads the injected secrets anew: an injection replaces them while the gateway runs. */
export async function readSecrets(directory = secretsDirectory): Promise<Secrets> {
  let token: Buffer | undefined;
  const digests: Record<string, string> = {};
  for (const name of (await namesIn(directory)).sort()) {
    // The agent's half-written files begin with a dot; no secret's name does.
    if (name.startsWith(".")) continue;
    const value = await readFile(join(directory, name));
    if (name === tokenName) token = value;
    else digests[name] = digestOf(value);
  }
  return { token, digests };
}
