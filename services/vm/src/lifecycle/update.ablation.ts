/** Takes one control of an update away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const file = "services/vm/src/lifecycle/update.ts";
const controls: readonly (readonly [what: string, removal: Removal, name: string])[] = [
  [
    "the return of all else with a refused policy",
    { file, find: "life.tenants.recordUpdate(before);", replace: "{}" },
    "a policy that net refuses takes all else back",
  ],
  [
    "the room of a guest that is to grow",
    {
      file,
      find: "requireRoom(capacity, life.tenants.resources(vmId), larger(before.resources, resources));",
      replace: "{}",
    },
    "a guest that is to grow has its room promised",
  ],
  [
    "the promise of what a guest will have",
    {
      file: "services/vm/src/store/tenants.ts",
      find: "max(memory_mib, coalesce(next_memory_mib, 0))",
      replace: "memory_mib",
    },
    "a guest that is to grow has its room promised",
  ],
  [
    "the wait of a machine for its next boot",
    {
      file: "services/vm/src/lifecycle/suspend.ts",
      find: "const machine = await describeMachine(life, tenant);",
      replace: "const machine = await describeMachine(life, life.tenants.takeNextResources(vmId));",
    },
    "vCPUs and memory wait for the next boot",
  ],
  [
    "the boot that takes them",
    {
      file: "services/vm/src/lifecycle/wake.ts",
      find: "const sized = life.tenants.takeNextResources(tenant.vmId);",
      replace: "const sized = tenant;",
    },
    "vCPUs and memory wait for the next boot",
  ],
  [
    "the note of limits that net did not confirm",
    {
      file,
      find: "areLimitsPending: before.areLimitsPending || update.networkLimits !== undefined,",
      replace: "areLimitsPending: false,",
    },
    "limits that net did not confirm are told it again",
  ],
  [
    "the note that it did",
    { file, find: "    life.tenants.confirmLimits(vmId);\n", replace: "" },
    "limits that net did not confirm are told it again",
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, removal, name]) => ({
  control,
  removals: [removal],
  noticedBy: { file: "services/vm/src/lifecycle/update.test.ts", name },
}));

if (import.meta.main) ablate(ablations);
