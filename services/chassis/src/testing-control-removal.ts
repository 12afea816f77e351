/**
 * Takes controls away and shows that a test notices. Everything happens in a copy of the sources; the checkout is not touched.
 *
 * A file of ablations exports its list, so that `deploy/test/ablations.test.ts` finds what does not apply any more, and runs it when it is the
 * program: `node --test <file>.ablation.ts`.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const checkout = fileURLToPath(new URL("../../../", import.meta.url));
const copied = ["services/*/src", "services/*/package.json", "deploy/guest"];
const runLimitSeconds = 120;
/** What a test allocates without a control may have no end. */
const memoryLimitBytes = 3 * 1024 ** 3;

/** A change of one source file. */
export interface Removal {
  /** Below the checkout, as everywhere here. */
  readonly file: string;
  /** Has to stand in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

/** One test of a file. */
export interface ControlTest {
  readonly file: string;
  /** Its name, or how that begins; behind the names of its suites where it would not be the only one. */
  readonly name: string;
}

export interface Ablation {
  readonly control: string;
  /** What of it is taken away; only together is the control gone. */
  readonly removals: readonly Removal[];
  readonly noticedBy: ControlTest;
}

/**
 * Registers a test for each control: the test that notices passes on the sources as they are, and fails once the control is gone. One that fails, or
 * does not exist, with the control in place shows nothing when it fails without.
 */
export function ablate(ablations: readonly Ablation[], options: { readonly skip?: string | false } = {}): void {
  const { skip = false } = options;
  if (skip !== false) return void test("controls, taken away one by one", { skip });
  const copy = copyOfSources();
  after(() => rmSync(copy, { recursive: true }));
  const intact = new Map<string, Promise<TestRun>>();
  for (const { control, removals, noticedBy } of ablations) {
    test(`without "${control}" its test fails`, async () => {
      const key = `${noticedBy.file} ${noticedBy.name}`;
      const whole = await (intact.get(key) ?? intact.set(key, runTest(copy, noticedBy)).get(key));
      assert.deepEqual([whole?.passed, whole?.count], [true, 1], `with every control in place: ${whole?.output}`);
      const changed = sourcesWithout(removals);
      try {
        for (const [file, text] of changed) writeFileSync(join(copy, file), text);
        const run = await runTest(copy, noticedBy);
        assert.deepEqual([run.passed, run.count], [false, 1], `not noticed by "${noticedBy.name}"`);
      } finally {
        for (const file of changed.keys()) cpSync(join(checkout, file), join(copy, file));
      }
    });
  }
}

/** The text of each file that `removals` change, as it is then. Throws if one does not apply. */
export function sourcesWithout(removals: readonly Removal[]): ReadonlyMap<string, string> {
  const changed = new Map<string, string>();
  for (const { file, find, replace } of removals) {
    const parts = (changed.get(file) ?? readFileSync(join(checkout, file), "utf8")).split(find);
    if (parts.length !== 2) throw new Error(`${JSON.stringify(find)} stands ${parts.length - 1} times in ${file}`);
    changed.set(file, parts.join(replace));
  }
  return changed;
}

/** Inside the checkout, so that third-party packages are found in its node_modules. */
function copyOfSources(): string {
  mkdirSync(join(checkout, ".cache"), { recursive: true });
  const copy = mkdtempSync(join(checkout, ".cache", "ablation-"));
  for (const path of globSync(copied, { cwd: checkout }))
    cpSync(join(checkout, path), join(copy, path), { recursive: true });
  const packages = join(copy, "node_modules", "@lobsterd");
  mkdirSync(packages, { recursive: true });
  for (const service of globSync("services/*", { cwd: copy }))
    symlinkSync(join(copy, service), join(packages, basename(service)));
  return copy;
}

interface TestRun {
  readonly passed: boolean;
  /** Tests that ran, so that a name that matches none is not taken for a pass. */
  readonly count: number;
  readonly output: string;
}

function runTest(copy: string, { file, name }: ControlTest): Promise<TestRun> {
  const pattern = `^${name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}`;
  // A test that fails in the middle may leave connections open.
  const flags = ["--test", "--test-force-exit", "--test-reporter=tap", `--test-name-pattern=${pattern}`];
  // An environment of its own: with this process's NODE_TEST_CONTEXT the inner runner would report to the outer one and run nothing.
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
  // The whole process group at its end: the runner's own child would outlive it.
  const bounded = ["--signal=KILL", `${runLimitSeconds}`, "prlimit", `--data=${memoryLimitBytes}`, process.execPath];
  const options = { maxBuffer: 16 * 1024 * 1024, env };
  return new Promise((resolve, reject) => {
    execFile("timeout", [...bounded, ...flags, join(copy, file)], options, (error, stdout) => {
      if (error?.signal === "SIGKILL") return reject(new Error(`the test was not over in ${runLimitSeconds} s`));
      const counted = (what: string) => Number(new RegExp(`^# ${what} (\\d+)$`, "m").exec(stdout)?.[1] ?? 0);
      const count = counted("pass") + counted("fail") + counted("cancelled");
      resolve({ passed: error === null, count, output: stdout });
    });
  });
}
