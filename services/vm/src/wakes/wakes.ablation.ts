/** Takes one budget of a wake away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const story = "services/vm/src/wakes/tenant-wakes.test.ts";
const call = "services/vm/src/rpc/wake-tenant.test.ts";

const controls: readonly (readonly [what: string, removal: Removal, test: string, file?: string])[] = [
  [
    "one wake for all that ask",
    { file: "services/vm/src/wakes/tenant-wakes.ts", find: "if (known !== undefined) return known;", replace: "" },
    "a hundred wishes at once are one resume, and each gets the tenant running with its route awake",
  ],
  [
    "the places of the host",
    {
      file: "services/vm/src/wakes/wake-budget.ts",
      find: "return await places.enter(",
      replace: "return await createBootQueue(64, 64).enter(",
    },
    "a scan of fifty sleeping tenants wakes as many as the host takes, never more at once, and refuses the rest with a time",
  ],
  [
    "the bound of those that wait",
    { file: "services/vm/src/wakes/wake-budget.ts", find: "config.maxQueuedWakes)", replace: "64)" },
    "a scan of fifty sleeping tenants wakes as many as the host takes, never more at once, and refuses the rest with a time",
  ],
  [
    "the tenant's hour",
    { file: "services/vm/src/wakes/wake-budget.ts", find: "      requireTenantBudget(name, vmId);\n", replace: "" },
    "a tenant is woken so often in an hour and no more, across restarts, and again when the hour is over",
  ],
  [
    "the count of wakes that fail",
    { file: "services/vm/src/wakes/wake-budget.ts", find: "store.begin(vmId, now(), now() - hourMs);", replace: "" },
    "a wake that fails is counted: a state that cannot be loaded is not tried for ever",
  ],
  [
    "the time that a woken tenant runs",
    { file: "services/vm/src/wakes/wake-budget.ts", find: "ranMs >= minimumRunMs", replace: "true" },
    "a tenant runs for its minimum after a wake before it may rest, across restarts, and an operator need not wait",
  ],
  [
    "the microVM that is meant",
    { file: "services/vm/src/wakes/tenant-wakes.ts", find: "tenant.vmId !== vmId", replace: "false" },
    "nobody is woken for another microVM, and none that is gone or failed",
  ],
  [
    "the state of a route in the comparison",
    {
      file: "services/vm/src/lifecycle/reconcile.ts",
      find: '[phase === "suspended", ...extraHostNames]',
      replace: '[published.get(vmId)?.startsWith("true") ?? false, ...extraHostNames]',
    },
    "reconcile has a suspended tenant's route sleep and a running one's awake, whatever proxy has, and then changes nothing",
  ],
  [
    "the row of who may call",
    {
      file: "services/vm/src/access.ts",
      find: 'wakeTenant: ["service:proxy"]',
      replace: 'wakeTenant: ["service:proxy", "service:net"]',
    },
    "service:net wakes nobody",
    call,
  ],
  [
    "the record with its cause",
    {
      file: "services/vm/src/audit-policy.ts",
      find: 'WakeTenant: { kind: "widening", describe: woken }',
      replace: 'WakeTenant: { kind: "widening", describe: named }',
    },
    "a wake is recorded before and after, with who asked and why",
    call,
  ],
  [
    "the place of a wake whose tenant goes away",
    { file: "services/vm/src/wakes/wake-budget.ts", find: "place[Symbol.dispose]();", replace: "" },
    "a tenant that is evicted while its wake waits",
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, removal, name, file = story]) => ({
  control,
  removals: [removal],
  noticedBy: { file, name },
}));

if (import.meta.main) ablate(ablations);
