import { writeFileSync } from "node:fs";
import { log } from "./log.ts";

/** Resets the machine at once: under both VMMs a reset ends it. */
export function resetMachine(): void {
  log("powering off");
  writeFileSync("/proc/sysrq-trigger", "b");
}
