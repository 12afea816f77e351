/** Takes one control of suspend and resume away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const sleep = "services/vm/src/lifecycle/sleep.test.ts";
const promises = "services/vm/src/lifecycle/sleep-promises.test.ts";

/** What is taken away, from where, the beginning of the name of the test that notices, and the file of that test. */
const controls: readonly (readonly [what: string, removal: Removal, name: string, tests?: string])[] = [
  [
    "a state that is used up before its guest runs",
    {
      file: "services/vm/src/lifecycle/resume.ts",
      find: '  journal.consume(tenant, () => recordSeal(life, "ConsumeState", tenant, sealed));\n',
      replace: "",
    },
    "the state is used up before the loaded guest runs",
  ],
  [
    "the counter of the header",
    {
      file: "services/vm/src/lifecycle/resume.ts",
      find: "if (!isLast(header, tenant, sealed))",
      replace: "if (false)",
    },
    "an older file of the tenant in place of its last one is a rollback",
  ],
  [
    "the word of the launcher about generations",
    {
      file: "services/vm/src/lifecycle/resume.ts",
      find: 'if (reasonOf(cause) === "STALE_GENERATION")',
      replace: "if (false)",
    },
    "yesterday's file with yesterday's database",
  ],
  [
    "the later state that the audit log knows",
    { file: "services/vm/src/lifecycle/rollback.ts", find: "sealedLast <= sealed.counter && ", replace: "" },
    "a whole host of yesterday is a rollback too",
  ],
  [
    "the use that the audit log knows",
    { file: "services/vm/src/lifecycle/rollback.ts", find: " && consumedLast < sealed.counter", replace: "" },
    "a state that the audit log knows as used up",
  ],
  [
    "a new generation for each attempt",
    { file: "services/vm/src/store/tenants.ts", find: "generation = generation + 1, sleep", replace: "sleep" },
    "memory is suspended and resumed fifty times",
  ],
  [
    "the note of the generation that a guest took",
    { file: "services/vm/src/lifecycle/wake.ts", find: "  life.tenants.settleGeneration(vmId);\n", replace: "" },
    "a guest is found again under the generation that it took",
  ],
  [
    "the facts of the machine",
    { file: "services/vm/src/lifecycle/resume.ts", find: "refuseOtherMachine(header.machine, machine);", replace: "" },
    "on another machine a state is not loaded",
  ],
  [
    "the wait of a VMM for the last tag",
    { file: "services/vm/src/lifecycle/resume.ts", find: "    await opening;\n", replace: "" },
    "a VMM starts while the state is opened",
  ],
  [
    "the alarm for a file that is not whole",
    {
      file: "services/vm/src/lifecycle/resume.ts",
      find: "error instanceof SealBrokenError || isAbsence(error)",
      replace: "false",
    },
    "a sealed file with a bit changed is refused with an alarm and nothing of it is loaded",
  ],
  [
    "the end of the microVM after the seal",
    {
      file: "services/vm/src/lifecycle/suspend.ts",
      find: "() => parts.vmm.stop(vmId)",
      replace: "async () => undefined",
    },
    "a suspended tenant is a sealed file and a disk",
  ],
  [
    "the row that makes a tenant its sealed file",
    {
      file: "services/vm/src/lifecycle/settle-sleep.ts",
      find: "life.sealedStates.find(vmId) !== undefined",
      replace: "false",
    },
    "vm dying when stop-microvm of a suspend is started leaves one tenant with its memory",
  ],
  [
    "an eviction's end of a suspend",
    { file: "services/vm/src/lifecycle/turns.ts", find: "line?.cancel.abort(reason);", replace: "" },
    "an eviction that comes when seal-state of a suspend begins ends it and leaves nothing",
  ],
  [
    "the removal of files that are nobody's",
    {
      file: "services/vm/src/lifecycle/settle-sleep.ts",
      find: "life.sealedStates.fileNames().has(name)",
      replace: "true",
    },
    "reconcile leaves a suspended tenant alone",
  ],
  [
    "the host's posture before a resume",
    { file: "services/vm/src/lifecycle/resume.ts", find: "await life.posture.admitSpawn();", replace: "" },
    "a host that must not get a tenant",
    promises,
  ],
  [
    "the host names of a guest that is woken",
    {
      file: "services/vm/src/lifecycle/wake.ts",
      find: "publishTenantRoute(parts, tenant, {",
      replace: "publishTenantRoute(parts, { ...tenant, extraHostNames: [] }, {",
    },
    "a tenant that is woken has all of its host names again",
    promises,
  ],
  [
    "the host names of a guest that is booted from its disk",
    {
      file: "services/vm/src/lifecycle/wake.ts",
      find: "publishTenantRoute(parts, attached, {",
      replace: "publishTenantRoute(parts, { ...attached, extraHostNames: [] }, {",
    },
    "a tenant that is booted from its disk has all of its host names again",
    promises,
  ],
  [
    "the time that an image asks for",
    {
      file: "services/vm/src/lifecycle/wake.ts",
      find: "startLimitMs ?? config.workloadLimitMs",
      replace: "config.workloadLimitMs",
    },
    "a tenant that is booted from its disk has the time",
    promises,
  ],
  [
    "the generation of a client that is kept",
    {
      file: "services/vm/src/guest/agent.ts",
      find: "if (known?.generation === generation && known.client !== undefined)",
      replace: "if (known?.client !== undefined)",
    },
    "who asks for an earlier generation is in nobody's way",
    "services/vm/src/guest/agent.test.ts",
  ],
  [
    "the refusal to dial a guest that is about to be saved",
    { file: "services/vm/src/guest/agent-sleep.ts", find: "dismiss(tenant);", replace: "forget(tenant.vmId);" },
    "nobody dials a guest that was quiesced",
    "services/vm/src/guest/agent.test.ts",
  ],
  [
    "the time told again to a guest that was long in taking it",
    { file: "services/vm/src/guest/agent.ts", find: "isLate ? call", replace: "false ? call" },
    "a guest that was long in taking the clock is told the time again",
    "services/vm/src/guest/agent.test.ts",
  ],
  [
    "the same at a boot",
    {
      file: "services/vm/src/guest/agent.ts",
      find: "if (performance.now() - beganMs <= clockUnderwayMs) return;",
      replace: "return;",
    },
    "a guest that was long in taking the clock is told the time again",
    "services/vm/src/guest/agent.test.ts",
  ],
  [
    "the room of a memory that is to be sealed",
    {
      file: "services/vm/src/lifecycle/capacity.ts",
      find: "diskMib + sealedMemoryMib(memoryMib)",
      replace: "diskMib",
    },
    "nor is a disk without room for its tenant's memory",
    "services/vm/src/lifecycle/capacity.test.ts",
  ],
  [
    "the room that sealed memories have taken",
    {
      file: "services/vm/src/lifecycle/capacity.ts",
      find: "description.overlayCapacityMib + sealedBytes / mib",
      replace: "description.overlayCapacityMib",
    },
    "room that sealed memories have taken is not lost",
    "services/vm/src/lifecycle/capacity.test.ts",
  ],
  [
    "the turn of a renewal",
    {
      file: "services/vm/src/guest/renewals.ts",
      find: "turns.take(vmId, async",
      replace: "(async (_: string, work: (signal: AbortSignal) => Promise<void>) => work(signal))(vmId, async",
    },
    "a renewal takes its tenant's turn",
    "services/vm/src/guest/renewals.test.ts",
  ],
  [
    "the second look of a renewal",
    {
      file: "services/vm/src/guest/renewals.ts",
      find: "tenants.findByVm(vmId)",
      replace: "listed as TenantRecord | undefined",
    },
    "what became of a tenant since a run began",
    "services/vm/src/guest/renewals.test.ts",
  ],
  [
    "the bound of what waits to be written",
    {
      file: "services/vm/src/sealing/seal-set.ts",
      find: "    if (waiting.length > waitingBatches) await waiting.shift();\n",
      replace: "",
    },
    "512 MiB are sealed and opened in 32 MiB of memory",
    "services/vm/src/sealing/memory.test.ts",
  ],
  [
    "the refusal to run a tenant that is its sealed file",
    {
      file: "services/vm/src/lifecycle/journal.ts",
      find: "if (sealedStates.find(vmId) !== undefined) throw",
      replace: "if (false) throw",
    },
    "a tenant that is its sealed file is neither woken",
  ],
  [
    "the steady clock of a wait for a service",
    {
      file: "services/vm/src/lifecycle/lifecycle.ts",
      find: "createServiceWaits(parts.steadyNow)",
      replace: "createServiceWaits(parts.now)",
    },
    "a time in which nobody waited costs no memory",
  ],
  [
    "the bound of a wait for a service",
    {
      file: "services/vm/src/lifecycle/service-waits.ts",
      find: "return steadyNow() - beginMs > limitMs;",
      replace: "return false;",
    },
    "a service that stays away is waited for within a bound",
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, removal, name, file = sleep]) => ({
  control,
  removals: [removal],
  noticedBy: { file, name },
}));

if (import.meta.main) ablate(ablations);
