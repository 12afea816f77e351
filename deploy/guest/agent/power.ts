import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { log } from "./log.ts";

const run = promisify(execFile);
/** The answer to Shutdown has to leave the machine before the machine goes. */
const answerMs = 100;

/** Writes out every file system, then resets the machine: under both VMMs a reset ends it. Resolves before the reset. */
export async function syncAndReset(): Promise<void> {
  await run("/usr/bin/sync", { timeout: 10_000 });
  log("powering off");
  setTimeout(() => writeFileSync("/proc/sysrq-trigger", "b"), answerMs);
}
