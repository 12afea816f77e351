import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const guestRoot = join(import.meta.dirname, "..");
const cache = join(guestRoot, "../../.cache");
const runLimitMs = 120_000;

/** A text that stands once in a file of this directory, and what stands there without the control. */
export type Removal = { readonly file: string; readonly find: string; readonly replace: string };

/** Runs one test of a copy of the agent's sources with `removal` made; resolves with how many of it passed and failed. */
export async function runWithout(
  removal: Removal | undefined,
  testFile: string,
  name: string,
): Promise<{ passed: number; failed: number }> {
  mkdirSync(cache, { recursive: true });
  // Inside the checkout, so that packages are found in its node_modules.
  const copy = mkdtempSync(join(cache, "ablation-agent-"));
  try {
    for (const part of ["agent", "image"]) cpSync(join(guestRoot, part), join(copy, part), { recursive: true });
    if (removal !== undefined) apply(join(copy, "agent"), removal);
    return await runTest(join(copy, "agent", testFile), name);
  } finally {
    rmSync(copy, { recursive: true });
  }
}

function apply(directory: string, { file, find, replace }: Removal): void {
  const path = join(directory, file);
  const parts = readFileSync(path, "utf8").split(find);
  if (parts.length !== 2) throw new Error(`${JSON.stringify(find)} stands ${parts.length - 1} times in ${file}`);
  writeFileSync(path, parts.join(replace));
}

function runTest(path: string, name: string): Promise<{ passed: number; failed: number }> {
  const pattern = `^${name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`;
  // A test that fails in the middle may leave connections open.
  const parameters = ["--test", "--test-force-exit", "--test-reporter=tap", `--test-name-pattern=${pattern}`, path];
  // An environment of its own: with this process's the inner runner would report to the outer one and run nothing.
  const options = { timeout: runLimitMs, maxBuffer: 16 * 1024 * 1024, env: { PATH: "/usr/bin:/bin" } };
  return new Promise((resolve) => {
    execFile(process.execPath, parameters, options, (_error, stdout) => {
      const count = (what: string) => Number(new RegExp(`^# ${what} (\\d+)$`, "m").exec(stdout)?.[1] ?? 0);
      resolve({ passed: count("pass"), failed: count("fail") + count("cancelled") });
    });
  });
}
