/** Takes one bound of holds away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const holds = "services/vm/src/holds/holds.ts";
const tests = "services/vm/src/holds/holds.test.ts";

const controls: readonly (readonly [what: string, removal: Removal, name: string])[] = [
  [
    "the longest hold",
    { file: holds, find: "if (durationMs <= maxHoldMs) return;", replace: "return;" },
    "what is over a bound",
  ],
  [
    "the number of holds",
    { file: holds, find: "export const maxHolds = 16;", replace: "export const maxHolds = 17;" },
    "what is over a bound",
  ],
  [
    "the bound of each kind by itself",
    {
      file: "services/vm/src/holds/hold-store.ts",
      find: " AND kind = coalesce(?, kind)",
      replace: " AND coalesce(?, '') IS NOT NULL",
    },
    "callers' holds keep nobody",
  ],
  [
    "the end of holds under a clock that was set back",
    {
      file: "services/vm/src/holds/hold-store.ts",
      find: "AND expire_time_ms > ? AND expire_time_ms <= ? AND kind",
      replace: "AND expire_time_ms > ? AND ? IS NOT NULL AND kind",
    },
    "a clock that is set back",
  ],
  [
    "whose hold it is",
    {
      file: "services/vm/src/holds/hold-store.ts",
      find: '"DELETE FROM hold WHERE hold_id = ? AND vm_id = ?"',
      replace: '"DELETE FROM hold WHERE hold_id = ? AND ? IS NOT NULL"',
    },
    "a release ends one hold",
  ],
  [
    "the hold of a command",
    {
      file: "services/vm/src/rpc/exec-tenant.ts",
      find: "holds.during(tenant.vmId, guests.exec(tenant, start, input, signal))",
      replace: "guests.exec(tenant, start, input, signal)",
    },
    "a command and a log hold",
  ],
  [
    "the renewal",
    {
      file: holds,
      find: "store.extend(holdId, now() + maxHoldMs);",
      replace: "",
    },
    "the hold of a command that runs for hours",
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, removal, name]) => ({
  control,
  removals: [removal],
  noticedBy: { file: tests, name },
}));

if (import.meta.main) ablate(ablations);
