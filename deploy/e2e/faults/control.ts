/**
 * How a story reaches into a running `vm`: a file says at which step a spawn is to fail or to wait. Only the `vm` of the test
 * stack reads it (`vm-main.ts`); the product has no such switch.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";

const faultSchema = z.object({
  step: z.string(),
  moment: z.enum(["started", "done"]),
  action: z.enum(["fail", "hold"]),
});

export type Fault = Readonly<z.infer<typeof faultSchema>>;

/** A held step goes on by itself after this, so that a story that dies does not leave `vm` waiting. */
const holdLimitMs = 60_000;
const pollMs = 20;

const faultPath = (runDir: string) => join(runDir, "faults", "fault.json");
/** `vm` may write here. */
const reachedPath = (runDir: string) => join(runDir, "vm", "fault-reached");

export function setFault(runDir: string, fault: Fault): void {
  mkdirSync(join(runDir, "faults"), { recursive: true });
  rmSync(reachedPath(runDir), { force: true });
  const temporary = `${faultPath(runDir)}.new`;
  writeFileSync(temporary, JSON.stringify(fault), { mode: 0o644 });
  renameSync(temporary, faultPath(runDir));
}

/** Lets a held step go on; later steps are not touched. */
export function clearFault(runDir: string): void {
  rmSync(join(runDir, "faults"), { recursive: true, force: true });
  rmSync(reachedPath(runDir), { force: true });
}

/** Resolves when a spawn has come to the step of the fault. */
export async function faultReached(runDir: string, limitMs = 60_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!existsSync(reachedPath(runDir))) {
    if (performance.now() > deadline) throw new Error(`no spawn came to the fault within ${limitMs} ms`);
    await delay(pollMs);
  }
}

function readFault(runDir: string): Fault | undefined {
  const path = faultPath(runDir);
  return existsSync(path) ? faultSchema.parse(JSON.parse(readFileSync(path, "utf8"))) : undefined;
}

/** What `vm-main.ts` calls at every step. */
export async function obeyFault(runDir: string, moment: string, step: string): Promise<void> {
  const fault = readFault(runDir);
  if (fault === undefined || fault.moment !== moment || fault.step !== step) return;
  writeFileSync(reachedPath(runDir), "");
  if (fault.action === "fail") throw new Error(`told to fail when ${step} is ${moment}`);
  const deadline = performance.now() + holdLimitMs;
  while (readFault(runDir) !== undefined && performance.now() < deadline) await delay(pollMs);
}
