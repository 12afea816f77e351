import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { openDatabase } from "@lobsterd/chassis/sqlite.ts";
import { WorkloadState } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { EgressMode } from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import { createFakeHost, type FakeHost } from "../lifecycle/fake-host.ts";
import { type RunOptions, startRun, wish } from "../lifecycle/fake-run.ts";
import { type Step, spawnSteps } from "../lifecycle/journal.ts";
import { migrations } from "../store/schema.ts";
import { checkNames } from "./checks.ts";
import type { RepairReport } from "./repair.ts";

type Run = ReturnType<typeof startRun>;

const memory = () => openDatabase(":memory:", migrations);
const withReason = (reason: string) => (error: unknown) => reasonOf(error) === reason;
const suspend = ({ operations }: Run) => operations.suspend(randomUUID(), "demo");

/** A running tenant with a word in its memory that no boot would find again. */
async function running(options: RunOptions = {}) {
  const host = createFakeHost();
  const database = memory();
  const run = startRun(host, database, options);
  const { vmId } = await run.operations.spawn({ ...wish("demo"), extraHostNames: ["shop.example"] });
  host.vmm.writeMemory(vmId, "canary-in-memory");
  const whole = await host.inventory();
  run.told.length = 0;
  return { host, database, run, vmId, whole };
}

const failedChecks = (checks: RepairReport["before"]) => checks.filter(({ passed }) => !passed).map(({ name }) => name);
const actions = ({ steps }: RepairReport) =>
  steps.map(({ action, reason }) => (reason ? `${action} ${reason}` : action));

/** Fails unless the report says that the tenant is whole, and it is. */
async function requireWhole(host: FakeHost, run: Run, report: RepairReport, whole: readonly string[]): Promise<void> {
  assert.deepEqual(
    report.after.map(({ name, passed }) => [name, passed]),
    checkNames.map((name) => [name, true]),
  );
  const tenant = run.tenants.find("demo");
  assert.deepEqual([tenant?.phase, tenant?.failureReason], ["running", ""]);
  assert.deepEqual(run.journal.open(), []);
  assert.deepEqual(await host.inventory(), whole);
  assert.deepEqual(host.routes.get("demo")?.extraHostNames, ["shop.example"]);
  assert.equal(host.guests.get(tenant?.vmId ?? "")?.generation, tenant?.generation);
}

const keepsMemory = (host: FakeHost, vmId: string) => host.vmm.memory(vmId) === "canary-in-memory";

test("a whole tenant is looked at and left alone", async () => {
  const { host, run, vmId, whole } = await running();
  for (let round = 0; round < 2; round++) {
    const report = await run.operations.repair("demo");
    await requireWhole(host, run, report, whole);
    assert.deepEqual([report.steps, failedChecks(report.before)], [[], []]);
  }
  assert.ok(keepsMemory(host, vmId));
  assert.deepEqual(run.told, []);
});

/** What is done to a tenant, which checks see it, and what mends it. */
const faults: readonly {
  readonly what: string;
  readonly harm: (host: FakeHost, vmId: string) => unknown;
  readonly seen: readonly string[];
  readonly done: readonly string[];
  readonly isBooted?: true;
}[] = [
  {
    what: "whose VMM ended",
    harm: (host, vmId) => host.vmm.exit(vmId),
    seen: ["vm.process", "agent.answers", "workload.healthy"],
    done: ["boot-guest"],
    isBooted: true,
  },
  {
    what: "whose agent is silent",
    harm: (host, vmId) => host.workloads.set(vmId, undefined),
    seen: ["agent.answers", "workload.healthy"],
    done: ["boot-guest"],
    isBooted: true,
  },
  {
    what: "whose guest lost its secrets",
    harm: (host, vmId) => host.workloads.set(vmId, WorkloadState.WAITING_FOR_SECRETS),
    seen: ["workload.healthy"],
    done: ["boot-guest"],
    isBooted: true,
  },
  {
    what: "whose workload ended",
    harm: (host, vmId) => host.workloads.set(vmId, WorkloadState.FAILED),
    seen: ["workload.healthy"],
    done: ["restart-workload"],
  },
  {
    what: "whose workload hangs and cannot be restarted",
    harm: (host, vmId) => host.workloads.set(vmId, WorkloadState.UNHEALTHY) && host.failing.add("restartWorkload"),
    seen: ["workload.healthy"],
    done: ["restart-workload GUEST_UNREACHABLE", "boot-guest"],
    isBooted: true,
  },
  {
    what: "without a network, who cannot answer therefore",
    harm: (host, vmId) => host.networks.delete(vmId),
    seen: ["agent.answers", "workload.healthy", "net.attached", "net.rules"],
    done: ["reattach-network"],
  },
  {
    what: "under another policy",
    harm: (host, vmId) => host.networks.set(vmId, { slot: 0, egress: { mode: EgressMode.NONE, rules: [] } as never }),
    seen: ["net.attached"],
    done: ["reattach-network"],
  },
  {
    what: "with a rule that somebody changed",
    harm: (host) => host.drifts.push({ kind: "missing-element", object: "guests lob-0" }),
    seen: ["net.rules"],
    done: ["repair-rules"],
  },
  {
    what: "without a route",
    harm: (host) => host.routes.delete("demo"),
    seen: ["route.published"],
    done: ["publish-route"],
  },
  {
    what: "whose VMM, network and route are gone at once",
    harm: (host, vmId) => {
      host.vmm.exit(vmId);
      host.networks.delete(vmId);
      host.routes.delete("demo");
    },
    seen: checkNames,
    done: ["boot-guest"],
    isBooted: true,
  },
];

for (const { what, harm, seen, done, isBooted } of faults) {
  test(`a tenant ${what} is repaired: ${done.join(", ")}`, async () => {
    const { host, run, vmId, whole } = await running();
    const { slot, generation } = run.tenants.find("demo") ?? {};
    harm(host, vmId);
    const report = await run.operations.repair("demo");
    assert.deepEqual(failedChecks(report.before), seen);
    assert.deepEqual(actions(report), done);
    await requireWhole(host, run, report, whole);
    const after = run.tenants.find("demo");
    assert.deepEqual([after?.vmId, after?.slot], [vmId, slot]);
    assert.equal(after?.generation, (generation ?? 0) + (isBooted ? 1 : 0));
    assert.equal(keepsMemory(host, vmId), isBooted !== true);
    const told = run.told.filter((line) => line.startsWith("event repair"));
    assert.deepEqual(
      told,
      done.map((step) => {
        const [action, reason] = step.split(" ");
        return reason === undefined ? `event repaired demo ${action}` : `event repair-failed demo ${action} ${reason}`;
      }),
    );
    assert.deepEqual(actions(await run.operations.repair("demo")), [], "a second run changes nothing");
  });
}

test("a workload that only takes its time is waited for", async () => {
  const { host, run, vmId } = await running();
  host.workloads.set(vmId, WorkloadState.STARTING);
  const report = await run.operations.repair("demo");
  assert.deepEqual([actions(report), failedChecks(report.after)], [[], []]);
  assert.ok(keepsMemory(host, vmId));
});

test("a guest is not ended because the launcher, or net, does not say what is", async () => {
  const { host, run, vmId } = await running();
  host.failing.add("listMicroVms");
  host.workloads.set(vmId, undefined);
  assert.deepEqual(actions(await run.operations.repair("demo")), []);
  host.failing.clear();
  host.failing.add("getNetwork");
  const report = await run.operations.repair("demo");
  assert.deepEqual([actions(report), failedChecks(report.after).includes("net.attached")], [[], true]);
  assert.ok(keepsMemory(host, vmId));
});

test("a repair that fails is told, leaves the tenant to be repaired again, and nothing of it runs", async () => {
  const { host, run, vmId, whole } = await running();
  host.vmm.exit(vmId);
  host.failing.add("awaitAgent");
  const report = await run.operations.repair("demo");
  assert.deepEqual(actions(report), ["boot-guest BOOT_FAILED"]);
  assert.deepEqual([run.tenants.find("demo")?.phase, run.journal.open()], ["running", []]);
  assert.equal((await host.parts.vmm.list())[0]?.state, "exited");
  host.failing.clear();
  await requireWhole(host, run, await run.operations.repair("demo"), whole);
});

test("a FAILED tenant that cannot be repaired keeps its reason, and is running once it can", async () => {
  const { host, run, vmId, whole } = await running();
  run.tenants.markFailed(vmId, "VMM_EXITED");
  host.vmm.exit(vmId);
  host.failing.add("injectSecrets");
  await run.operations.repair("demo");
  const failed = run.tenants.find("demo");
  assert.deepEqual([failed?.phase, failed?.failureReason], ["failed", "VMM_EXITED"]);
  host.failing.clear();
  await requireWhole(host, run, await run.operations.repair("demo"), whole);
  assert.equal(run.told.at(-1), "event healed demo");
});

test("a FAILED tenant of which nothing is missing any more is running", async () => {
  const { host, run, vmId, whole } = await running();
  run.tenants.markFailed(vmId, "WORKLOAD_FAILED");
  const report = await run.operations.repair("demo");
  await requireWhole(host, run, report, whole);
  assert.deepEqual([report.steps, report.tenant.phase], [[], "running"]);
  assert.ok(keepsMemory(host, vmId));
});

test("a suspended tenant is resumed for its repair, with its memory", async () => {
  const { host, run, vmId, whole } = await running();
  await suspend(run);
  const report = await run.operations.repair("demo");
  assert.deepEqual(actions(report), ["resume-tenant"]);
  await requireWhole(host, run, report, whole);
  assert.ok(keepsMemory(host, vmId));
});

test("an operation that nobody goes on with is ended first", async () => {
  const { host, run, whole } = await running();
  await suspend(run);
  host.failing.add("renewGuestIdentity");
  await assert.rejects(run.operations.resume(randomUUID(), "demo"), withReason("RESUME_INCOMPLETE"));
  host.failing.clear();
  await requireWhole(host, run, await run.operations.repair("demo"), whole);
});

/** Holds the boot of a repair at `step`. */
function holdingAt(step: Step) {
  const reached = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  let isArmed = false;
  const observe = async (moment: string, name: Step) => {
    if (!isArmed || moment !== "started" || name !== step) return;
    reached.resolve();
    await go.promise;
  };
  const arm = () => {
    isArmed = true;
  };
  return { observe, arm, reached: reached.promise, go: go.resolve };
}

test("while a tenant is repaired it is not suspended, and a second repair waits for the first", async () => {
  const held = holdingAt("return-secrets");
  const { host, run, vmId } = await running({ observe: held.observe });
  host.vmm.exit(vmId);
  held.arm();
  const order: string[] = [];
  const repairing = run.operations.repair("demo").then(() => order.push("repaired"));
  await held.reached;
  const other = run.operations.repair("demo").then(({ steps }) => order.push(`other ${steps.length}`));
  const refusal = run.operations.suspend(randomUUID(), "demo").catch(reasonOf);
  held.go();
  await Promise.all([repairing, other]);
  assert.equal(await refusal, "TENANT_BUSY");
  assert.deepEqual(order, ["repaired", "other 0"]);
});

test("an eviction ends a repair, and nothing is left", async () => {
  const held = holdingAt("return-secrets");
  const { host, run, vmId } = await running({ observe: held.observe });
  host.vmm.exit(vmId);
  held.arm();
  const repairing = assert.rejects(run.operations.repair("demo"), withReason("TENANT_BUSY"));
  await held.reached;
  const evicting = run.operations.evict(randomUUID(), "demo");
  held.go();
  await Promise.all([repairing, evicting]);
  assert.deepEqual([await host.inventory(), run.tenants.find("demo")], [[], undefined]);
});

for (const step of ["join-network", "boot-guest", "return-secrets", "await-workload", "return-route"] as const) {
  test(`vm dying when ${step} of a repair begins leaves a tenant that its next run brings back`, async () => {
    const held = holdingAt(step);
    const { host, database, run, vmId, whole } = await running({ observe: held.observe });
    host.vmm.exit(vmId);
    held.arm();
    void run.operations.repair("demo");
    await held.reached;
    const next = startRun(host, database);
    await next.operations.reconcile();
    const report = await next.operations.repair("demo");
    await requireWhole(host, next, report, whole);
  });
}

test("who is not there, or is being made, is told so", async () => {
  const { run } = await running();
  await assert.rejects(run.operations.repair("other"), withReason("TENANT_NOT_FOUND"));
  const held = holdingAt(spawnSteps[3]);
  const host = createFakeHost();
  const second = startRun(host, memory(), { observe: held.observe });
  held.arm();
  const spawning = second.operations.spawn(wish("demo"));
  await held.reached;
  await assert.rejects(second.operations.repair("demo"), withReason("TENANT_BUSY"));
  held.go();
  await spawning;
});
