/**
 * Takes one control of the launcher away at a time, in a copy of the sources, and shows that its test goes red:
 * `node --test services/vm/src/launcher/controls.ablation.ts`. A row whose test still passes is a control that nothing tests.
 * What the jail itself lacks is taken away in the `*.host.test.ts` files beside each jailer.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../../", import.meta.url));
const runLimitMs = 120_000;
const skip = process.getuid?.() !== 0 ? "needs root" : process.arch !== "x64" ? "the stub is for x86-64" : false;

interface Ablation {
  readonly control: string;
  readonly file: string;
  /** Each has to stand in the file exactly once. */
  readonly edits: readonly (readonly [find: string, replace: string])[];
  readonly test: readonly [file: string, name: string];
}

const pit = [
  "kvm-pit.test.ts",
  "the thread of exactly the VMM's name is moved, and nothing that looks like it",
] as const;
const template = [
  "templates/template-store.test.ts",
  "a template is read from its start however often, cannot be written where it is read, and has no name",
] as const;
const attack = (name: string) => ["firecracker/attacks.host.test.ts", name] as const;
const one = (control: string, file: string, find: string, replace: string, shown: Ablation["test"]): Ablation => ({
  control,
  file,
  edits: [[find, replace]],
  test: shown,
});

const newDisk = [
  "files.host.test.ts",
  "a prepared VM's disk is an empty file system under its key, whatever its size, and the key is in no file",
] as const;

const ablations: readonly Ablation[] = [
  one("a new disk is encrypted", "overlay.ts", "encryptSectors(key, at / diskSectorBytes, buffer)", "buffer", newDisk),
  one(
    "the key of a disk is in no record",
    "verbs.ts",
    "{ version: 1, generation: 0, ...kept }",
    "{ version: 1, generation: 0, ...request }",
    newDisk,
  ),
  one(
    "a channel has one link",
    "channels.ts",
    " || found.nlink !== 1",
    "",
    attack("a VMM puts a hardlink in the place of log.fifo"),
  ),
  one(
    "a channel is the VMM's own",
    "channels.ts",
    " || found.uid !== uid",
    "",
    attack("a FIFO or socket of another owner is refused, and a directory on the way that is a link"),
  ),
  {
    control: "a channel's name is no link, and not another VM's socket",
    file: "channels.ts",
    edits: [
      ["names[channel]}`, pathOnly | constants.O_NOFOLLOW", "names[channel]}`, pathOnly"],
      [" || found.uid !== uid", ""],
    ],
    test: attack("a symlink stands in the place of a channel, whoever managed that"),
  },
  one(
    "the jailer's directory must not exist",
    "firecracker/jailer.ts",
    "if (there !== undefined)",
    "if (there === null)",
    attack("start refuses a directory where the jailer would make its directory"),
  ),
  one(
    "programs are root's alone",
    "firecracker/jailer.ts",
    "[vmm.firecrackerPath, vmm.jailerPath, paths.jail, paths.image]",
    "[paths.image]",
    attack("start refuses programs that others can write, or that are links, and a parent that others can write"),
  ),
  one(
    "no process of the uid is left",
    "verbs.ts",
    "if (pid !== undefined) throw",
    "if (pid === 0) throw",
    attack("a slot's uid is not given again while a process or a file of it is left"),
  ),
  one(
    "no file of the uid is left",
    "verbs.ts",
    "if (owned !== undefined) throw",
    "if (owned === '') throw",
    attack("a slot's uid is not given again while a process or a file of it is left"),
  ),
  one(
    "deep directories are moved up",
    "files.ts",
    "else renameSync(",
    "else removeTree(",
    attack("a jail in which a VMM nested directories deeper than a path can be long is removed"),
  ),
  one("copies have the manifest's digests", "firecracker/artifacts.ts", "!== sha256[name]", "=== ''", [
    "firecracker/jail.host.test.ts",
    "a copy of the kernel that differs from its manifest is not run",
  ]),
  one("every thread has a filter after the boot", "firecracker/jailer.ts", 'booted ? "every" : "some"', '"some"', [
    "firecracker/read-back.host.test.ts",
    "a booted VM with a thread without a filter is killed",
  ]),
  one("cgroup values are read back", "start.ts", "cgroups.faults(vmId, limitsOf(host, limits))", "[]", [
    "firecracker/read-back.host.test.ts",
    "a limit that was raised after the start is found by place, and the VM killed",
  ]),
  one("the timer thread's whole name", "kvm-pit.ts", "comm(proc, id) ===", "comm(proc, id)?.slice(0, 10) ===", pit),
  one("the timer thread is the kernel's", "kvm-pit.ts", "isKernelThread(proc, id) && placeOf", "placeOf", pit),
  one("the timer thread is no older than its VMM", "kvm-pit.ts", ">= born", ">= 0", pit),
  one("the timer thread was placed by nobody", "kvm-pit.ts", "placeOf(id) === placeOf(2) && ", "", pit),
  one("two timer threads are not guessed between", "kvm-pit.ts", "threads.length > 1", "threads.length > 9", [
    "kvm-pit.test.ts",
    "a VM is given up when two could be its own",
  ]),
  one("the move is read back", "kvm-pit.ts", "cgroups.holds(owner.vmId, text)) === true", "text.length > 0) === true", [
    "kvm-pit.test.ts",
    "a VM is given up when the move does not read back",
  ]),
  one(
    "one VM boots at a time",
    "boot-turn.ts",
    "if (holder === undefined) give(vmId);",
    "if (vmId !== '') give(vmId);",
    ["boot-turn.test.ts", "one VM boots at a time, in the order in which they asked"],
  ),
  one("a next disk is the VM's own once it is whole", "disk.ts", "found.uid !== uid", "found.uid < 0", [
    "disk.host.test.ts",
    "one that is short, long or cut off is gone, and is never put in place",
  ]),
  one("a next disk has the size of the VM's", "disk.ts", "if (written !== bytes)", "if (written > bytes)", [
    "disk.host.test.ts",
    "one that is short, long or cut off is gone, and is never put in place",
  ]),
  one(
    "the disk that goes out is a copy",
    "disk.ts",
    "const fd = openSync(overlayCopy,",
    "const fd = openSync(overlay,",
    ["disk.host.test.ts", "comes out as it was when the answer came, and its copy never has a name that stays"],
  ),
  one(
    "a VMM cannot write its template",
    "templates/template-store.ts",
    "constants.O_RDONLY",
    "constants.O_RDWR",
    template,
  ),
  one("nobody else finds a template", "templates/template-store.ts", "      unlinkSync(path);\n", "", template),
];

/** Runs one test against a copy of this service and the chassis with the edits made. Throws when an edit does not apply. */
async function runWithout(edits: Ablation["edits"], file: string, [testFile, name]: Ablation["test"]) {
  mkdirSync(join(root, ".cache"), { recursive: true });
  // Inside the checkout, so that third-party packages are found in its node_modules.
  const copy = mkdtempSync(join(root, ".cache", "ablation-launcher-"));
  const launcher = join(copy, "services", "vm", "src", "launcher");
  try {
    for (const service of ["vm", "chassis"])
      for (const part of ["src", "package.json"])
        cpSync(join(root, "services", service, part), join(copy, "services", service, part), { recursive: true });
    mkdirSync(join(copy, "node_modules", "@lobsterd"), { recursive: true });
    symlinkSync(join(copy, "services", "chassis"), join(copy, "node_modules", "@lobsterd", "chassis"));
    for (const [find, replace] of edits) {
      const parts = readFileSync(join(launcher, file), "utf8").split(find);
      assert.equal(parts.length, 2, `${JSON.stringify(find)} stands ${parts.length - 1} times in ${file}`);
      writeFileSync(join(launcher, file), parts.join(replace));
    }
    return await runTest(join(launcher, testFile), name);
  } finally {
    rmSync(copy, { recursive: true });
  }
}

function runTest(path: string, name: string): Promise<{ passed: boolean; count: number; output: string }> {
  const pattern = `^${name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`;
  const parameters = ["--test", "--test-reporter=tap", `--test-name-pattern=${pattern}`, path];
  return new Promise((resolve, reject) => {
    // An environment of its own: with this process's NODE_TEST_CONTEXT the inner runner would report to the outer one and run nothing.
    const options = {
      timeout: runLimitMs,
      maxBuffer: 16 * 1024 * 1024,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    };
    execFile(process.execPath, parameters, options, (error, stdout) => {
      if (error?.killed === true) return reject(new Error(`the test was not over within ${runLimitMs} ms`));
      const count = Number(/^# pass (\d+)$/m.exec(stdout)?.[1] ?? 0) + Number(/^# fail (\d+)$/m.exec(stdout)?.[1] ?? 0);
      resolve({ passed: error === null, count, output: stdout });
    });
  });
}

const intact = new Map<string, Promise<void>>();

/** A test that fails, or does not exist, with the control in place shows nothing when it fails without. */
async function passesIntact(shown: Ablation["test"]): Promise<void> {
  const run = await runWithout([], "", shown);
  assert.ok(
    run.passed && run.count === 1,
    `with every control in place "${shown[1]}" has to run and pass:\n${run.output}`,
  );
}

for (const { control, file, edits, test: shown } of ablations) {
  test(`without "${control}" its test fails`, { skip }, async () => {
    const whole = intact.get(shown[1]) ?? passesIntact(shown);
    intact.set(shown[1], whole);
    await whole;
    const run = await runWithout(edits, file, shown);
    assert.equal(run.count, 1, run.output);
    assert.equal(run.passed, false, `"${shown[1]}" passes without the control`);
  });
}
