/** Takes one control of an update away, in a copy of the sources, and shows the test that goes red. */
import { test } from "node:test";
import { type Alteration, requireNoticed } from "../posture/testing/altered-copy.ts";

const file = "../lifecycle/update.ts";
const controls: readonly (readonly [what: string, alteration: Alteration, name: string])[] = [
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
    { file: "../store/tenants.ts", find: "max(memory_mib, coalesce(next_memory_mib, 0))", replace: "memory_mib" },
    "a guest that is to grow has its room promised",
  ],
  [
    "the wait of a machine for its next boot",
    {
      file: "../lifecycle/suspend.ts",
      find: "const machine = await describeMachine(life, tenant);",
      replace: "const machine = await describeMachine(life, life.tenants.takeNextResources(vmId));",
    },
    "vCPUs and memory wait for the next boot",
  ],
  [
    "the boot that takes them",
    {
      file: "../lifecycle/wake.ts",
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

for (const [what, alteration, name] of controls) {
  test(`${what} is missed when it is gone`, async () => {
    await requireNoticed(alteration, "../lifecycle/update.test.ts", name);
  });
}
