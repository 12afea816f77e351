/** Takes one control of Firecracker's saved states away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate } from "@lobsterd/chassis/testing-control-removal.ts";

const directory = "services/vm/src/vmm/firecracker";
const [saved, adapter] = [`${directory}/saved-machine.ts`, `${directory}/adapter.ts`];
const failing = "a save that fails at any step leaves a guest that runs, and no file";
const refused = "a state whose frames hold something else is refused before the VMM is asked for anything";

/** What is taken away, from where, and the test that notices. */
const controls: readonly (readonly [control: string, file: string, find: string, replace: string, name: string])[] = [
  [
    "only a running guest is saved",
    saved,
    'if (state !== "Running")',
    'if (state === "Not started")',
    "a loaded guest waits for resume",
  ],
  [
    "there is room before the guest is paused",
    saved,
    "  const { memoryMib } = await host.makeRoom(vmId);\n  await api.pause();\n",
    "  await api.pause();\n  const { memoryMib } = await host.makeRoom(vmId);\n",
    "a save makes room, pauses and makes exactly these calls",
  ],
  ["a guest whose save failed goes on", saved, "    await goOnAfter(host, saving, error);\n", "", failing],
  ["a save that failed leaves no file", saved, "    await host.clearRoom(vmId);\n", "", failing],
  ["a saved memory is whole", saved, "if (passed !== bytes)", "if (passed > bytes)", failing],
  ["a saved state is not empty", saved, "if (flow.bytes() === 0)", "if (flow.bytes() < 0)", failing],
  [
    "a state is complete once the VMM says that it is paused",
    saved,
    'if (now !== "Paused")',
    'if (now === "Not started")',
    "a VMM that says that it runs, though it was paused, has saved nothing",
  ],
  [
    "it says so over the connection of before",
    saved,
    "const { state: now } = await api.getInstance();",
    'const now = "Paused" as string;',
    "a state is complete only when the connection answers that was there before it",
  ],
  ["a state's length is bounded", saved, "if (stateBytes > maxStateBytes)", "if (stateBytes < 0)", refused],
  ["nothing is behind the memory", saved, "if (!(await parts.atEnd()))", "if (stateBytes < 0)", refused],
  [
    "a loaded guest is not let go by unpause",
    adapter,
    'if (state === "Paused" && loaded.has(vmId))',
    'if (state === "Not started")',
    "a loaded guest waits for resume",
  ],
  [
    "a saved guest is not resumed",
    adapter,
    '!== "Paused" || !loaded.has(vmId)',
    '!== "Paused"',
    "a loaded guest waits for resume",
  ],
  [
    "unpause leaves no file",
    adapter,
    "        await host.clearRoom(vmId);\n",
    "",
    "a launcher that is away leaves a guest that may be paused",
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, file, find, replace, name]) => ({
  control,
  removals: [{ file, find, replace }],
  noticedBy: { file: `${directory}/saved-machine.test.ts`, name },
}));

if (import.meta.main) ablate(ablations);
