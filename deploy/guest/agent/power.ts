import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { log } from "./log.ts";

const run = promisify(execFile);

/** Writes out every file system; what the tenant wrote before is on its disk afterwards. */
export async function syncFileSystems(): Promise<void> {
  await run("/usr/bin/sync", { timeout: 10_000 });
}

/** Resets the machine at once: under both VMMs a reset ends it. */
export function resetMachine(): void {
  log("powering off");
  writeFileSync("/proc/sysrq-trigger", "b");
}
