/** Takes one control of a drain away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const file = "services/vm/src/lifecycle/drain.ts";
const controls: readonly (readonly [what: string, removal: Removal, name: string])[] = [
  [
    "the refusal of spawns",
    { file: "services/vm/src/lifecycle/spawn.ts", find: "    admitSpawn(life.drains);\n", replace: "" },
    "a host whose tenants are kept",
  ],
  [
    "the refusal of resumes",
    { file: "services/vm/src/lifecycle/resume.ts", find: "    admitResume(life.drains);\n", replace: "" },
    "a drained host suspends every tenant",
  ],
  [
    "the resumes of tenants that are kept",
    { file, find: 'if (drain?.tenants === "suspend") throw', replace: "if (drain !== undefined) throw" },
    "a host whose tenants are kept",
  ],
  [
    "the bound of suspends at once",
    { file, find: "const concurrentSuspends = 2;", replace: "const concurrentSuspends = 16;" },
    "two at most are suspended at once",
  ],
  [
    "the look at the drain before each suspend",
    { file, find: "if (!isSuspending()) return;", replace: "" },
    "two at most are suspended at once",
  ],
  [
    "the word of a suspend that failed",
    { file, find: "if (!passing.has(reason)) fails(vmId, reason);", replace: "" },
    "a tenant that refuses to sleep is told",
  ],
  [
    "the pause after a suspend that failed",
    { file, find: "notBeforeMs: steadyNow() + retryPauseMs(count)", replace: "notBeforeMs: 0" },
    "a tenant that cannot be suspended is left alone",
  ],
  [
    "the rest of FAILED tenants",
    {
      file: "services/vm/src/repair/watchdog.ts",
      find: 'if (tenant.phase === "failed" && life.drains.find() !== undefined) return;',
      replace: "",
    },
    "a host that is drained brings no FAILED tenant back",
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, removal, name]) => ({
  control,
  removals: [removal],
  noticedBy: { file: "services/vm/src/lifecycle/drain.test.ts", name },
}));

if (import.meta.main) ablate(ablations);
