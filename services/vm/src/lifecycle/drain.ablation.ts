/** Takes one control of a drain away, in a copy of the sources, and shows the test that goes red. */
import { test } from "node:test";
import { type Alteration, requireNoticed } from "../posture/testing/altered-copy.ts";

const file = "../lifecycle/drain.ts";
const controls: readonly (readonly [what: string, alteration: Alteration, name: string])[] = [
  [
    "the refusal of spawns",
    { file: "../lifecycle/spawn.ts", find: "    admitSpawn(life.drains);\n", replace: "" },
    "a host whose tenants are kept",
  ],
  [
    "the refusal of resumes",
    { file: "../lifecycle/resume.ts", find: "    admitResume(life.drains);\n", replace: "" },
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
    { file, find: "if (!passing.has(reason)) failures.set(vmId, reason);", replace: "" },
    "a tenant that refuses to sleep is told",
  ],
  [
    "the rest of FAILED tenants",
    {
      file: "../repair/watchdog.ts",
      find: 'if (tenant.phase === "failed" && life.drains.find() !== undefined) return;',
      replace: "",
    },
    "a host that is drained brings no FAILED tenant back",
  ],
];

for (const [what, alteration, name] of controls) {
  test(`${what} is missed when it is gone`, async () => {
    await requireNoticed(alteration, "../lifecycle/drain.test.ts", name);
  });
}
