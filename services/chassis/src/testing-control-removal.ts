import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const runLimitMs = 120_000;

/** A change of one source file that takes a control away. */
export interface Removal {
  /** Below `services/`. */
  readonly file: string;
  /** Has to stand in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface TestRun {
  readonly passed: boolean;
  /** Tests that ran, so that a name that matches none is not taken for a pass. */
  readonly count: number;
  readonly output: string;
}

/** One test of a service. */
export interface ControlTest {
  readonly service: string;
  /** Below `services/<service>/src`. */
  readonly file: string;
  readonly name: string;
}

/**
 * Runs a test against a copy of its service and the chassis in which `removals` were made. The checkout is not touched. Throws if a
 * removal does not apply.
 */
export async function runWithout(removals: readonly Removal[], { service, file, name }: ControlTest): Promise<TestRun> {
  mkdirSync(join(root, ".cache"), { recursive: true });
  // Inside the checkout, so that third-party packages are found in its node_modules.
  const copy = mkdtempSync(join(root, ".cache", `ablation-${service}-`));
  try {
    for (const copied of new Set([service, "chassis"])) {
      for (const part of ["src", "package.json"]) {
        cpSync(join(root, "services", copied, part), join(copy, "services", copied, part), { recursive: true });
      }
    }
    mkdirSync(join(copy, "node_modules", "@lobsterd"), { recursive: true });
    symlinkSync(join(copy, "services", "chassis"), join(copy, "node_modules", "@lobsterd", "chassis"));
    for (const removal of removals) apply(copy, removal);
    return await runTest(join(copy, "services", service, "src", file), name);
  } finally {
    rmSync(copy, { recursive: true });
  }
}

/**
 * Fails unless the test passes on the sources as they are, and fails once the control is gone. One that fails, or does not exist, with the control in place
 * shows nothing when it fails without.
 */
export async function requireNoticed(removals: readonly Removal[], noticing: ControlTest): Promise<void> {
  const intact = await runWithout([], noticing);
  assert.deepEqual([intact.passed, intact.count], [true, 1], intact.output);
  const removed = await runWithout(removals, noticing);
  assert.deepEqual([removed.passed, removed.count], [false, 1], "not noticed");
}

function apply(copy: string, { file, find, replace }: Removal): void {
  const path = join(copy, "services", file);
  const parts = readFileSync(path, "utf8").split(find);
  if (parts.length !== 2) throw new Error(`${JSON.stringify(find)} stands ${parts.length - 1} times in ${file}`);
  writeFileSync(path, parts.join(replace));
}

function runTest(path: string, name: string): Promise<TestRun> {
  const pattern = `^${name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`;
  const parameters = ["--test", "--test-reporter=tap", `--test-name-pattern=${pattern}`, path];
  return new Promise((resolve, reject) => {
    // An environment of its own: with this process's NODE_TEST_CONTEXT the inner runner would report to the outer one and run nothing.
    const options = { timeout: runLimitMs, maxBuffer: 16 * 1024 * 1024, env: { PATH: "/usr/bin:/bin" } };
    execFile(process.execPath, parameters, options, (error, stdout) => {
      if (error?.killed === true) return reject(new Error(`the test was not over within ${runLimitMs} ms`));
      const count = Number(/^# pass (\d+)$/m.exec(stdout)?.[1] ?? 0) + Number(/^# fail (\d+)$/m.exec(stdout)?.[1] ?? 0);
      resolve({ passed: error === null, count, output: stdout });
    });
  });
}
