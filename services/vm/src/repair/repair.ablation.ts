/** Takes one control of a repair away, in a copy of the sources, and shows the test that goes red. */
import { test } from "node:test";
import { type Alteration, requireNoticed } from "../posture/testing/altered-copy.ts";

const repair = "../repair/repair.test.ts";
const watchdog = "../repair/watchdog.test.ts";

/** What is taken away, from where, the beginning of the name of the test that notices, and the file of that test. */
const controls: readonly (readonly [what: string, alteration: Alteration, name: string, tests?: string])[] = [
  [
    "the network before the guest",
    {
      file: "../repair/repair.ts",
      find: 'if (hasFailed(found, "net.attached")) await attempt("reattach-network", () => restoreNetwork(life, tenant));',
      replace: "",
    },
    "a tenant without a network, who cannot answer therefore",
  ],
  [
    "the policy of a network that is attached",
    {
      file: "../lifecycle/reconcile.ts",
      find: "if (network !== undefined) await convergeEgress(life, network);\n  life",
      replace: "life",
    },
    "a tenant under another policy",
  ],
  [
    "the boot of a guest that ended",
    { file: "../repair/repair.ts", find: ' || hasFailed(found, "vm.process")', replace: "" },
    "a tenant whose VMM, network and route are gone at once",
  ],
  [
    "the restart of a workload",
    { file: "../repair/repair.ts", find: "  await life.parts.guests.restartWorkload(tenant, signal);\n", replace: "" },
    "a tenant whose workload ended",
  ],
  [
    "the boot after a restart that did not help",
    {
      file: "../repair/repair.ts",
      find: "restartWorkload(life, tenant, evicted)))) await boot();",
      replace: "restartWorkload(life, tenant, evicted)))) return;",
    },
    "a tenant whose workload hangs and cannot be restarted",
  ],
  [
    "the doubt about what the launcher does not say",
    { file: "../repair/repair.ts", find: 'if (isUnknown(found, "vm.process")) return;', replace: "" },
    "a guest is not ended because the launcher",
  ],
  [
    "the doubt about what net does not say",
    {
      file: "../repair/repair.ts",
      find: 'if (workload === undefined && isUnknown(found, "net.attached", "net.rules")) return;',
      replace: "",
    },
    "a guest is not ended because the launcher",
  ],
  [
    "the end of waiting for a guest that refuses",
    { file: "../guest/agent.ts", find: "performance.now() - refusedSinceMs > refusedLimitMs", replace: "false" },
    "a guest that refuses is given up before one that is silent",
    "../guest/agent.test.ts",
  ],
  [
    "the patience on a busy host",
    { file: "../repair/patience.ts", find: "quietMs * Math.max(1, wanting / cores)", replace: "quietMs" },
    "a guest has five seconds on a quiet host",
    "../repair/patience.test.ts",
  ],
  [
    "the end of all patience",
    { file: "../repair/patience.ts", find: "Math.min(longestMs, quietMs", replace: "Math.min(1e9, quietMs" },
    "a guest has five seconds on a quiet host",
    "../repair/patience.test.ts",
  ],
  [
    "the end of a boot that failed",
    { file: "../lifecycle/wake.ts", find: "    life.journal.endUnrepaired(tenant);\n", replace: "" },
    "a repair that fails is told",
  ],
  [
    "the stop of a boot that failed",
    {
      file: "../lifecycle/wake.ts",
      find: "await life.parts.vmm.stop(tenant.vmId).catch(",
      replace: "await Promise.resolve().catch(",
    },
    "a repair that fails is told",
  ],
  [
    "the way out of FAILED",
    { file: "../repair/repair.ts", find: "if (passes(after)) heal(life, tenant);", replace: "" },
    "a FAILED tenant of which nothing is missing",
  ],
  [
    "the reason of FAILED, which goes with it",
    { file: "../store/tenants.ts", find: "failure_reason = '', ready_time_ms", replace: "ready_time_ms" },
    "a FAILED tenant that cannot be repaired keeps its reason",
  ],
  [
    "the end of an operation that nobody goes on with",
    { file: "../repair/repair.ts", find: "await settleSleep(life, operation);", replace: "{}" },
    "an operation that nobody goes on with",
  ],
  [
    "the turn that is the hold",
    {
      file: "../repair/repair.ts",
      find: "return await life.turns.take(vmId, async (evicted) => {",
      replace:
        "return await (async (work: (signal: AbortSignal) => Promise<RepairReport>) => await work(new AbortController().signal))(async (evicted) => {",
    },
    "an eviction ends a repair",
  ],
  [
    "the back-off",
    { file: "../repair/pace.ts", find: "nowMs + repairBackoffMs * 2 ** attempts", replace: "nowMs" },
    "repairs that fail come ever later",
    watchdog,
  ],
  [
    "the end of trying",
    {
      file: "../repair/watchdog.ts",
      find: "!isGuestWell(report) && pace.attempts >= maxAttempts) giveUp",
      replace: "false) giveUp",
    },
    "repairs that fail come ever later",
    watchdog,
  ],
  [
    "another try for a FAILED tenant",
    {
      file: "../repair/watchdog.ts",
      find: '(tenant.phase !== "running" && tenant.phase !== "failed")',
      replace: '(tenant.phase !== "running")',
    },
    "repairs that fail come ever later",
    watchdog,
  ],
  [
    "the slow pace of these",
    { file: "../repair/pace.ts", find: "notBeforeMs: nowMs + failedRetryMs", replace: "notBeforeMs: nowMs" },
    "repairs that fail come ever later",
    watchdog,
  ],
  [
    "the count of repairs that do not last",
    {
      file: "../repair/watchdog.ts",
      find: "if (paceOf(vmId).attempts >= maxAttempts) return giveUp(tenant, fault);",
      replace: "",
    },
    "a guest that is booted again and again",
    watchdog,
  ],
  [
    "the rest after a steady time",
    { file: "../repair/watchdog.ts", find: "if (isSteady(paceOf(vmId), life.now())) paces.delete(vmId);", replace: "" },
    "a guest that is booted again and again",
    watchdog,
  ],
  [
    "the second look in the turn",
    { file: "../repair/watchdog.ts", find: "if (report?.steps.length === 0) return;", replace: "" },
    "a look that was wrong",
    watchdog,
  ],
  [
    "the look at the tenant in the turn",
    {
      file: "../repair/watchdog.ts",
      find: "if (!isWatched(tenant)) return;",
      replace: "if (tenant === undefined) return;",
    },
    "a tenant that falls asleep while it is looked at",
    watchdog,
  ],
  [
    "the look at once at those whose VMM ended",
    {
      file: "../repair/watchdog.ts",
      find: "alive.has(tenant.vmId) ? Math.random() * options.spreadMs : 0",
      replace: "Math.random() * options.spreadMs",
    },
    "a tenant whose VMM ended does not wait",
    watchdog,
  ],
  [
    "the limit of a workload that starts",
    { file: "../repair/watchdog.ts", find: "return life.now() - sinceMs > limitMs;", replace: "return false;" },
    "a workload that starts has its time",
    watchdog,
  ],
  [
    "the bound of looks at once",
    { file: "../repair/watchdog.ts", find: "const concurrentLooks = 8;", replace: "const concurrentLooks = 64;" },
    "at most eight are asked at once",
    watchdog,
  ],
  [
    "the bound of repairs at once",
    { file: "../repair/watchdog.ts", find: "const concurrentRepairs = 8;", replace: "const concurrentRepairs = 64;" },
    "at most eight are repaired at once",
    watchdog,
  ],
];

for (const [what, alteration, name, tests = repair] of controls) {
  test(`${what} is missed when it is gone`, async () => {
    await requireNoticed(alteration, tests, name);
  });
}
