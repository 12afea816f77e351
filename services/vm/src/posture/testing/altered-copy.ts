import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../../../", import.meta.url));
const runLimitMs = 120_000;

/** A change of one source file below `posture/`. `find` has to stand in it exactly once. */
export interface Alteration {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface TestRun {
  readonly passed: boolean;
  /** Tests that ran: a name that matches none is no pass. */
  readonly count: number;
  readonly output: string;
}

/**
 * Runs the tests of `testFile` (below `posture/`) whose name begins with `name` against a copy of `vm`'s sources in which `alterations`
 * were made. The checkout is not touched. Throws if an alteration does not apply.
 */
export async function runAltered(alterations: readonly Alteration[], testFile: string, name: string): Promise<TestRun> {
  mkdirSync(join(root, ".cache"), { recursive: true });
  // Inside the checkout, so that packages are found in its node_modules.
  const copy = mkdtempSync(join(root, ".cache", "ablation-posture-"));
  try {
    for (const part of ["src", "package.json"]) {
      cpSync(join(root, "services/vm", part), join(copy, part), { recursive: true });
    }
    for (const { file, find, replace } of alterations) {
      const path = join(copy, "src/posture", file);
      const parts = readFileSync(path, "utf8").split(find);
      if (parts.length !== 2) throw new Error(`${JSON.stringify(find)} stands ${parts.length - 1} times in ${file}`);
      writeFileSync(path, parts.join(replace));
    }
    return await runTests(join(copy, "src/posture", testFile), name);
  } finally {
    rmSync(copy, { recursive: true });
  }
}

/** Fails unless the one test of that name passes on the sources as they are, and fails once the alteration is made. */
export async function requireNoticed(alteration: Alteration, testFile: string, name: string): Promise<void> {
  const intact = await runAltered([], testFile, name);
  assert.deepEqual([intact.passed, intact.count], [true, 1], intact.output);
  const altered = await runAltered([alteration], testFile, name);
  assert.deepEqual([altered.passed, altered.count], [false, 1], "not noticed");
}

function runTests(path: string, name: string): Promise<TestRun> {
  const pattern = `^${name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}`;
  const parameters = ["--test", "--test-reporter=tap", `--test-name-pattern=${pattern}`, path];
  return new Promise((resolve, reject) => {
    // Without this process's NODE_TEST_CONTEXT, with which the inner runner would report to the outer one and run nothing.
    const options = { timeout: runLimitMs, maxBuffer: 16 * 1024 * 1024, env: { PATH: "/usr/bin:/bin" } };
    execFile(process.execPath, parameters, options, (error, stdout) => {
      if (error?.killed === true) return reject(new Error(`the tests were not over within ${runLimitMs} ms`));
      const count = Number(/^# pass (\d+)$/m.exec(stdout)?.[1] ?? 0) + Number(/^# fail (\d+)$/m.exec(stdout)?.[1] ?? 0);
      resolve({ passed: error === null, count, output: stdout });
    });
  });
}
