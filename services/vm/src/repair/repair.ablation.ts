/** Takes one control of a repair away, in a copy of the sources, and shows the test that goes red. */
import { type Ablation, ablate, type Removal } from "@lobsterd/chassis/testing-control-removal.ts";

const repair = "services/vm/src/repair/repair.test.ts";
const watchdog = "services/vm/src/repair/watchdog.test.ts";

/** What is taken away, from where, the beginning of the name of the test that notices, and the file of that test. */
const controls: readonly (readonly [what: string, removal: Removal, name: string, tests?: string])[] = [
  [
    "the network before the guest",
    {
      file: "services/vm/src/repair/repair.ts",
      find: 'if (hasFailed(found, "net.attached")) await attempt("reattach-network", () => restoreNetwork(life, tenant));',
      replace: "",
    },
    "a tenant without a network, who cannot answer therefore is repaired: reattach-network",
  ],
  [
    "the policy of a network that is attached",
    {
      file: "services/vm/src/lifecycle/reconcile.ts",
      find: "if (network !== undefined) await convergeEgress(life, network);\n  life",
      replace: "life",
    },
    "a tenant under another policy is repaired: reattach-network",
  ],
  [
    "the boot of a guest that ended",
    { file: "services/vm/src/repair/repair.ts", find: ' || hasFailed(found, "vm.process")', replace: "" },
    "a tenant whose VMM, network and route are gone at once is repaired: boot-guest",
  ],
  [
    "the restart of a workload",
    {
      file: "services/vm/src/repair/repair.ts",
      find: "  await life.parts.guests.restartWorkload(tenant, signal);\n",
      replace: "",
    },
    "a tenant whose workload ended is repaired: restart-workload",
  ],
  [
    "the boot after a restart that did not help",
    {
      file: "services/vm/src/repair/repair.ts",
      find: "restartWorkload(life, tenant, evicted)))) await boot();",
      replace: "restartWorkload(life, tenant, evicted)))) return;",
    },
    "a tenant whose workload hangs and cannot be restarted is repaired: restart-workload GUEST_UNREACHABLE, boot-guest",
  ],
  [
    "the doubt about what the launcher does not say",
    { file: "services/vm/src/repair/repair.ts", find: 'if (isUnknown(found, "vm.process")) return;', replace: "" },
    "a guest is not ended because the launcher",
  ],
  [
    "the doubt about what net does not say",
    {
      file: "services/vm/src/repair/repair.ts",
      find: 'if (workload === undefined && isUnknown(found, "net.attached", "net.rules")) return;',
      replace: "",
    },
    "a guest is not ended because the launcher",
  ],
  [
    "the end of waiting for a guest that refuses",
    {
      file: "services/vm/src/guest/agent-wait.ts",
      find: "performance.now() - refusedSinceMs > refusedLimitMs",
      replace: "false",
    },
    "a guest that refuses is given up before one that is silent",
    "services/vm/src/guest/agent.test.ts",
  ],
  [
    "the patience on a busy host",
    { file: "services/vm/src/repair/patience.ts", find: "quietMs * Math.max(1, wanting / cores)", replace: "quietMs" },
    "a guest has five seconds on a quiet host",
    "services/vm/src/repair/patience.test.ts",
  ],
  [
    "the end of all patience",
    {
      file: "services/vm/src/repair/patience.ts",
      find: "Math.min(longestMs, quietMs",
      replace: "Math.min(1e9, quietMs",
    },
    "a guest has five seconds on a quiet host",
    "services/vm/src/repair/patience.test.ts",
  ],
  [
    "the end of a boot that failed",
    { file: "services/vm/src/lifecycle/wake.ts", find: "    life.journal.endUnrepaired(tenant);\n", replace: "" },
    "a repair that fails is told",
  ],
  [
    "the stop of a boot that failed",
    {
      file: "services/vm/src/lifecycle/wake.ts",
      find: "await life.parts.vmm.stop(tenant.vmId).catch(",
      replace: "await Promise.resolve().catch(",
    },
    "a repair that fails is told",
  ],
  [
    "the way out of FAILED",
    { file: "services/vm/src/repair/repair.ts", find: "if (passes(after)) heal(life, tenant);", replace: "" },
    "a FAILED tenant of which nothing is missing",
  ],
  [
    "the reason of FAILED, which goes with it",
    { file: "services/vm/src/store/tenants.ts", find: "failure_reason = '', ready_time_ms", replace: "ready_time_ms" },
    "a FAILED tenant that cannot be repaired keeps its reason",
  ],
  [
    "the end of an operation that nobody goes on with",
    {
      file: "services/vm/src/repair/repair.ts",
      find: "await settlers[operation.kind]?.(life, operation);",
      replace: "{}",
    },
    "an operation that nobody goes on with",
  ],
  [
    "the end of a restore that nobody goes on with",
    {
      file: "services/vm/src/repair/repair.ts",
      find: "await settlers[operation.kind]?.(life, operation);",
      replace: 'if (operation.kind === "resume") await settlers[operation.kind]?.(life, operation);',
    },
    "a restore that vm died in at write-disk is ended by a repair that comes before the reconciler, and a memory meets its own disk",
    "services/vm/src/backups/restore.test.ts",
  ],
  [
    "the turn that is the hold",
    {
      file: "services/vm/src/repair/repair.ts",
      find: "return await life.turns.take(vmId, async (evicted) => {",
      replace:
        "return await (async (work: (signal: AbortSignal) => Promise<RepairReport>) => await work(new AbortController().signal))(async (evicted) => {",
    },
    "an eviction ends a repair",
  ],
  [
    "the back-off",
    { file: "services/vm/src/repair/pace.ts", find: "nowMs + repairBackoffMs * 2 ** attempts", replace: "nowMs" },
    "repairs that fail come ever later",
    watchdog,
  ],
  [
    "the end of trying",
    {
      file: "services/vm/src/repair/watchdog.ts",
      find: "!isGuestWell(report) && pace.attempts >= maxAttempts) giveUp",
      replace: "false) giveUp",
    },
    "repairs that fail come ever later",
    watchdog,
  ],
  [
    "another try for a FAILED tenant",
    {
      file: "services/vm/src/repair/watchdog.ts",
      find: '(tenant.phase !== "running" && tenant.phase !== "failed")',
      replace: '(tenant.phase !== "running")',
    },
    "repairs that fail come ever later",
    watchdog,
  ],
  [
    "the slow pace of these",
    {
      file: "services/vm/src/repair/pace.ts",
      find: "notBeforeMs: nowMs + failedRetryMs",
      replace: "notBeforeMs: nowMs",
    },
    "repairs that fail come ever later",
    watchdog,
  ],
  [
    "the count of repairs that do not last",
    {
      file: "services/vm/src/repair/watchdog.ts",
      find: "if (paceOf(vmId).attempts >= maxAttempts) return giveUp(tenant, fault);",
      replace: "",
    },
    "a guest that is booted again and again",
    watchdog,
  ],
  [
    "the rest after a steady time",
    {
      file: "services/vm/src/repair/watchdog.ts",
      find: "if (isSteady(paceOf(vmId), life.now())) paces.delete(vmId);",
      replace: "",
    },
    "a guest that is booted again and again",
    watchdog,
  ],
  [
    "the second look in the turn",
    { file: "services/vm/src/repair/watchdog.ts", find: "if (report?.steps.length === 0) return;", replace: "" },
    "a look that was wrong",
    watchdog,
  ],
  [
    "the look at the tenant in the turn",
    {
      file: "services/vm/src/repair/watchdog.ts",
      find: "if (!isWatched(tenant)) return;",
      replace: "if (tenant === undefined) return;",
    },
    "a tenant that falls asleep while it is looked at",
    watchdog,
  ],
  [
    "the look at once at those whose VMM ended",
    {
      file: "services/vm/src/repair/watchdog.ts",
      find: "alive.has(tenant.vmId) ? Math.random() * options.spreadMs : 0",
      replace: "Math.random() * options.spreadMs",
    },
    "a tenant whose VMM ended does not wait",
    watchdog,
  ],
  [
    "the limit of a workload that starts",
    {
      file: "services/vm/src/repair/watchdog.ts",
      find: "return life.now() - sinceMs > limitMs;",
      replace: "return false;",
    },
    "a workload that starts has its time",
    watchdog,
  ],
  [
    "the bound of looks at once",
    {
      file: "services/vm/src/repair/watchdog.ts",
      find: "const concurrentLooks = 8;",
      replace: "const concurrentLooks = 64;",
    },
    "at most eight are asked at once",
    watchdog,
  ],
  [
    "the bound of repairs at once",
    {
      file: "services/vm/src/repair/watchdog.ts",
      find: "const concurrentRepairs = 8;",
      replace: "const concurrentRepairs = 64;",
    },
    "at most eight are repaired at once",
    watchdog,
  ],
];

export const ablations: readonly Ablation[] = controls.map(([control, removal, name, file = repair]) => ({
  control,
  removals: [removal],
  noticedBy: { file, name },
}));

if (import.meta.main) ablate(ablations);
