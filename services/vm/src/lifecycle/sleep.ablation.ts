/** Takes one control of suspend and resume away, in a copy of the sources, and shows the test that goes red. */
import { test } from "node:test";
import { type Alteration, requireNoticed } from "../posture/testing/altered-copy.ts";

const sleep = "../lifecycle/sleep.test.ts";
const promises = "../lifecycle/sleep-promises.test.ts";

/** What is taken away, from where, the beginning of the name of the test that notices, and the file of that test. */
const controls: readonly (readonly [what: string, alteration: Alteration, name: string, tests?: string])[] = [
  [
    "a state that is used up before its guest runs",
    {
      file: "../lifecycle/resume.ts",
      find: '  journal.consume(tenant, () => recordSeal(life, "ConsumeState", tenant, sealed));\n',
      replace: "",
    },
    "the state is used up before the loaded guest runs",
  ],
  [
    "the counter of the header",
    { file: "../lifecycle/resume.ts", find: "if (!isLast(header, tenant, sealed))", replace: "if (false)" },
    "an older file of the tenant in place of its last one is a rollback",
  ],
  [
    "the word of the launcher about generations",
    { file: "../lifecycle/resume.ts", find: 'if (reasonOf(cause) === "STALE_GENERATION")', replace: "if (false)" },
    "yesterday's file with yesterday's database",
  ],
  [
    "the later state that the audit log knows",
    { file: "../lifecycle/rollback.ts", find: "sealedLast <= sealed.counter && ", replace: "" },
    "a whole host of yesterday is a rollback too",
  ],
  [
    "the use that the audit log knows",
    { file: "../lifecycle/rollback.ts", find: " && consumedLast < sealed.counter", replace: "" },
    "a state that the audit log knows as used up",
  ],
  [
    "a new generation for each attempt",
    { file: "../store/tenants.ts", find: "generation = generation + 1, sleep", replace: "sleep" },
    "memory is suspended and resumed fifty times",
  ],
  [
    "the note of the generation that a guest took",
    { file: "../lifecycle/wake.ts", find: "  life.tenants.settleGeneration(vmId);\n", replace: "" },
    "a guest is found again under the generation that it took",
  ],
  [
    "the facts of the machine",
    { file: "../lifecycle/resume.ts", find: "refuseOtherMachine(header.machine, machine);", replace: "" },
    "on another machine a state is not loaded",
  ],
  [
    "the wait of a VMM for the last tag",
    { file: "../lifecycle/resume.ts", find: "    await opening;\n", replace: "" },
    "a VMM starts while the state is opened",
  ],
  [
    "the alarm for a file that is not whole",
    { file: "../lifecycle/resume.ts", find: "error instanceof SealBrokenError || isAbsence(error)", replace: "false" },
    "a sealed file with a bit changed",
  ],
  [
    "the end of the microVM after the seal",
    { file: "../lifecycle/suspend.ts", find: "() => parts.vmm.stop(vmId)", replace: "async () => undefined" },
    "a suspended tenant is a sealed file and a disk",
  ],
  [
    "the row that makes a tenant its sealed file",
    { file: "../lifecycle/settle-sleep.ts", find: "life.sealedStates.find(vmId) !== undefined", replace: "false" },
    "vm dying when stop-microvm of a suspend is started",
  ],
  [
    "an eviction's end of a suspend",
    { file: "../lifecycle/turns.ts", find: "line?.cancel.abort(reason);", replace: "" },
    "an eviction that comes when save-state of a suspend begins",
  ],
  [
    "the removal of files that are nobody's",
    { file: "../lifecycle/settle-sleep.ts", find: "life.sealedStates.fileNames().has(name)", replace: "true" },
    "reconcile leaves a suspended tenant alone",
  ],
  [
    "the host's posture before a resume",
    { file: "../lifecycle/resume.ts", find: "await life.posture.admitSpawn();", replace: "" },
    "a host that must not get a tenant",
    promises,
  ],
  [
    "the host names of a guest that is woken",
    {
      file: "../lifecycle/wake.ts",
      find: "publishTenantRoute(parts, tenant, {",
      replace: "publishTenantRoute(parts, { ...tenant, extraHostNames: [] }, {",
    },
    "a tenant that is woken has all",
    promises,
  ],
  [
    "the host names of a guest that is booted from its disk",
    {
      file: "../lifecycle/wake.ts",
      find: "publishTenantRoute(parts, attached, {",
      replace: "publishTenantRoute(parts, { ...attached, extraHostNames: [] }, {",
    },
    "a tenant that is booted from its disk has all",
    promises,
  ],
  [
    "the time that an image asks for",
    {
      file: "../lifecycle/wake.ts",
      find: "startLimitMs ?? config.workloadLimitMs",
      replace: "config.workloadLimitMs",
    },
    "a tenant that is booted from its disk has the time",
    promises,
  ],
];

for (const [what, alteration, name, tests = sleep] of controls) {
  test(`${what} is missed when it is gone`, async () => {
    await requireNoticed(alteration, tests, name);
  });
}
