import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

const schema = z.object({
  LOBSTERD_GRPC: z.string(),
  LOBSTERD_GRPC_NET: z.string(),
  LOBSTERD_GRPC_PROXY: z.string(),
  LOBSTERD_GRPC_SECRETS: z.string(),
  LOBSTERD_GRPC_AUDIT: z.string(),
  LOBSTERD_HTTPS: z.string(),
  LOBSTERD_DOMAIN: z.string(),
  LOBSTERD_CA: z.string(),
  LOBSTERD_CERT: z.string(),
  LOBSTERD_KEY: z.string(),
  LOBSTERD_NETNS: z.string(),
  LOBSTERD_OUTSIDE_NETNS: z.string(),
  LOBSTERD_RUN_DIR: z.string(),
  LOBSTERD_STATE_DIR: z.string(),
  LOBSTERD_TRACES: z.string(),
});

/** What `.run/env` of a running stack says. */
export type StackEnv = Readonly<z.infer<typeof schema>>;

/** Root of this checkout. */
export const checkout = join(import.meta.dirname, "../..");

/** Path of the file that `make up` writes for an instance. */
export function envPath(instance: string): string {
  return join(checkout, ".run", instance === "dev" ? "env" : `env.${instance}`);
}

/** Reads the environment of a running stack. Throws if it is not up. */
export function readStackEnv(instance = "dev"): StackEnv {
  const lines = readFileSync(envPath(instance), "utf8").split("\n");
  const entries = lines.flatMap((line) => {
    const [, key, value] = /^(?:export )?([A-Z_]+)=['"]?(.*?)['"]?$/.exec(line) ?? [];
    return key === undefined || value === undefined ? [] : [[key, value] as const];
  });
  return schema.parse(Object.fromEntries(entries));
}
