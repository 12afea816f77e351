import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { WorkloadManifest } from "./workload-manifest.ts";

const run = promisify(execFile);

/** Half of what a call to the agent may take: what comes after it has to fit too. */
const hookLimitMs = 15_000;
const maximumOutputBytes = 65_536;

/**
 * Runs a command of the workload's own, as its user and in its environment without its secrets. Rejects when it does not end with 0 within
 * 15 s, by which time it is killed. An image without such a command has nothing to be told.
 */
export async function runHook(
  command: readonly string[] | undefined,
  { user, environment }: Pick<WorkloadManifest, "user" | "environment">,
  limitMs: number = hookLimitMs,
): Promise<void> {
  const [file, ...parameters] = command ?? [];
  if (file === undefined) return;
  await run(file, parameters, {
    ...{ uid: user.uid, gid: user.gid, cwd: environment["HOME"] ?? "/", env: { ...environment } },
    ...{ timeout: limitMs, killSignal: "SIGKILL", maxBuffer: maximumOutputBytes },
  });
}
