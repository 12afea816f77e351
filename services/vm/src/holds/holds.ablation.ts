/** Takes one bound of holds away, in a copy of the sources, and shows the test that goes red. */
import { test } from "node:test";
import { type Alteration, requireNoticed } from "../posture/testing/altered-copy.ts";

const holds = "../holds/holds.ts";
const tests = "../holds/holds.test.ts";

const controls: readonly (readonly [what: string, alteration: Alteration, name: string])[] = [
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
      file: "../holds/hold-store.ts",
      find: " AND kind = coalesce(?, kind)",
      replace: " AND coalesce(?, '') IS NOT NULL",
    },
    "callers' holds keep nobody",
  ],
  [
    "the end of holds under a clock that was set back",
    {
      file: "../holds/hold-store.ts",
      find: "AND expire_time_ms > ? AND expire_time_ms <= ? AND kind",
      replace: "AND expire_time_ms > ? AND ? IS NOT NULL AND kind",
    },
    "a clock that is set back",
  ],
  [
    "whose hold it is",
    {
      file: "../holds/hold-store.ts",
      find: '"DELETE FROM hold WHERE hold_id = ? AND vm_id = ?"',
      replace: '"DELETE FROM hold WHERE hold_id = ? AND ? IS NOT NULL"',
    },
    "a release ends one hold",
  ],
  [
    "the hold of a command",
    {
      file: "../rpc/exec-tenant.ts",
      find: "holds.during(tenant.vmId, guests.exec(tenant, start, input, signal))",
      replace: "guests.exec(tenant, start, input, signal)",
    },
    "a command and a log hold",
  ],
  [
    "the renewal",
    {
      file: holds,
      find: "expireTimeMs: now() + maxHoldMs }), streamRenewalMs",
      replace: "expireTimeMs: hold.expireTimeMs }), streamRenewalMs",
    },
    "the hold of a command that runs for hours",
  ],
];

for (const [what, alteration, name] of controls) {
  test(`${what} is missed when it is gone`, async () => {
    await requireNoticed(alteration, tests, name);
  });
}
