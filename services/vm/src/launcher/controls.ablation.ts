/**
 * Takes one control of the launcher away at a time, in a copy of the sources, and shows that its test goes red:
 * `node --test services/vm/src/launcher/controls.ablation.ts`. A row whose test still passes is a control that nothing tests.
 * What the jail itself lacks is taken away in the `*.host.test.ts` files beside each jailer.
 */
import { type Ablation, ablate } from "@lobsterd/chassis/testing-control-removal.ts";

const skip = process.getuid?.() !== 0 ? "needs root" : process.arch !== "x64" ? "the stub is for x86-64" : false;

interface Control {
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
const one = (control: string, file: string, find: string, replace: string, shown: Control["test"]): Control => ({
  control,
  file,
  edits: [[find, replace]],
  test: shown,
});

const savedState = "firecracker/saved-state.host.test.ts";
const outAndIn = {
  out: [savedState, "go out byte for byte, are not charged to the VM's cgroup, and have no name any more"],
  in: [savedState, "go in byte for byte, and have no name once the VM is placed, though the VMM has its memory open"],
} as const;
const inPlace = (what: string) =>
  [savedState, `${what} is refused on the way out, and replaced or refused on the way in`] as const;
const newDisk = [
  "files.host.test.ts",
  "a prepared VM's disk is an empty file system under its key, whatever its size, and the key is in no file",
] as const;

const controls: readonly Control[] = [
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
    "!is[kind] || found.uid !== uid || found.nlink !== 1",
    "!is[kind] || found.uid !== uid",
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
      ["const file = openSync(path, pathOnly | constants.O_NOFOLLOW);", "const file = openSync(path, pathOnly);"],
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
    "[...Object.values(programs), paths.jail, paths.image]",
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
  one(
    "copies have the manifest's digests",
    "artifacts/artifact-store.ts",
    "if (actual === expected) return;",
    "if (actual !== undefined) return;",
    ["firecracker/jail.host.test.ts", "a copy of the kernel that differs from its manifest is not run"],
  ),
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
  one("a next disk has the size of the VM's", "receive-file.ts", "if (written < shortest)", "if (written < 0)", [
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
  one(
    "a saved memory is as long as the guest's",
    "saved-files.ts",
    "[memoryBytes, memoryBytes]",
    "[1, memoryBytes]",
    inPlace("other length in the place of memory"),
  ),
  one(
    "a saved state is at most 16 MiB",
    "saved-files.ts",
    " && found.size <= longest",
    "",
    inPlace("other length in the place of state"),
  ),
  one(
    "a saved file has one link",
    "channels.ts",
    "found.uid !== uid || found.nlink !== 1",
    "found.uid !== uid",
    inPlace("hardlink in the place of memory"),
  ),
  one(
    "a saved file is the VMM's own",
    "channels.ts",
    " || found.uid !== uid",
    "",
    inPlace("other owner in the place of memory"),
  ),
  one("the disk is durable before a memory goes out", "disk.ts", "  await disk.sync();\n", "", [
    savedState,
    "no memory goes out of a guest whose disk cannot be made durable",
  ]),
  one(
    "a memory is allocated before the VMM writes it",
    "saved-files.ts",
    '"/usr/bin/fallocate", "--length"',
    '"/usr/bin/truncate", "--size"',
    outAndIn.out,
  ),
  one("a saved file has no name once it is read", "channels.ts", "      unlinkSync(named);\n", "", outAndIn.out),
  one("a loaded memory has no name", "start.ts", "    clearRoom(host, vmId);\n", "", outAndIn.in),
  one("a VMM has no named file of a state open", "firecracker/jailer.ts", "(memory|state) \\(deleted\\)", ".*", [
    savedState,
    "a VM whose VMM has a file of a state open that has a name is killed",
  ]),
  one(
    "a file that comes in is nobody's until it is whole",
    "saved-files.ts",
    'open(path, "wx", 0o600)',
    'open(path, "wx")',
    [savedState, "what comes in short, long or cut off is gone, and no VMM can read it before it is whole"],
  ),
  one("a file that did not come whole is gone", "saved-files.ts", "giveUp: drop", "giveUp: () => {}", [
    savedState,
    "what comes in short, long or cut off is gone, and no VMM can read it before it is whole",
  ]),
  one(
    "the directory of the files is root's alone",
    "firecracker/jailer.ts",
    "chmodSync(directory, 0o711)",
    "chmodSync(directory, 0o777)",
    [savedState, "a VMM cannot put anything in their place, nor take them away"],
  ),
  one("there is room for a memory", "saved-files.ts", "if (free < bytes)", "if (free < 0)", [
    savedState,
    "a tmpfs without room for the memory is told before anything is made",
  ]),
  one("a stop takes the files away", "verbs.ts", "  clearRoom(host, vmId);\n", "", [
    savedState,
    "are gone after a stop and after clearRoom, and belong to VMs that run",
  ]),
];

const below = (file: string) => `services/vm/src/launcher/${file}`;
export const ablations: readonly Ablation[] = controls.map(({ control, file, edits, test: [testFile, name] }) => ({
  control,
  removals: edits.map(([find, replace]) => ({ file: below(file), find, replace })),
  noticedBy: { file: below(testFile), name },
}));

if (import.meta.main) ablate(ablations, { skip });
