/** What of a tenant can be missing: each check looks at the host as it is now, and what does not answer has not passed. */
import { reasonOf, toConnectError } from "@lobsterd/chassis/errors.ts";
import { WorkloadState, WorkloadStateSchema } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { NetworkDrift } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import { sameEgress, toEgress } from "../network-policy.ts";
import type { TenantRecord } from "../store/tenant-record.ts";

/** In the order in which they are told. */
export const checkNames = [
  "vm.process",
  "agent.answers",
  "workload.healthy",
  "net.attached",
  "net.rules",
  "route.published",
] as const;
export type CheckName = (typeof checkNames)[number];

export interface Check {
  readonly name: CheckName;
  readonly passed: boolean;
  /** What was found, in words. */
  readonly detail: string;
  /** False when whoever had to say did not answer: then nothing is known to be wrong. */
  readonly isKnown: boolean;
}

/** What was found, as far as a repair has to know more than whether a check passed. */
export interface Findings {
  readonly checks: readonly Check[];
  /** What the agent says; undefined when it does not answer. */
  readonly workload: WorkloadState | undefined;
  /** What `net` found changed, and has repaired. */
  readonly drifts: readonly NetworkDrift[];
}

export const passes = ({ checks }: Findings): boolean => checks.every(({ passed }) => passed);
export const hasFailed = ({ checks }: Findings, ...names: readonly CheckName[]): boolean =>
  checks.some(({ name, passed, isKnown }) => !passed && isKnown && names.includes(name));
export const isUnknown = ({ checks }: Findings, ...names: readonly CheckName[]): boolean =>
  checks.some(({ name, isKnown }) => !isKnown && names.includes(name));

/** One look at everything. `net` compares its rules for it, and repairs them in passing; nothing else changes. */
export async function checkTenant(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<Findings> {
  const [guest, network, rules, route] = await Promise.all([
    checkGuest(life, tenant, signal),
    guarded("net.attached", () => checkNetwork(life, tenant, signal)),
    checkRules(life, tenant, signal),
    guarded("route.published", () => checkRoute(life, tenant, signal)),
  ]);
  signal.throwIfAborted();
  return { checks: [...guest.checks, network, rules.check, route], workload: guest.workload, drifts: rules.drifts };
}

async function checkGuest(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal) {
  const vm = await guarded("vm.process", async () => {
    const found = (await life.parts.vmm.list()).find(({ vmId }) => vmId === tenant.vmId);
    return check("vm.process", found?.state === "running", found?.state ?? "there is no microVM");
  });
  const workload = vm.passed ? await life.parts.guests.workloadState(tenant, signal) : undefined;
  const said = workload === undefined ? "not known" : workloadText(workload);
  return {
    workload,
    checks: [
      vm,
      check(
        "agent.answers",
        workload !== undefined,
        vm.passed ? (workload === undefined ? "silent" : "answers") : "not asked",
      ),
      check("workload.healthy", workload === WorkloadState.HEALTHY, said),
    ],
  };
}

async function checkNetwork({ parts }: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<Check> {
  const { network } = await parts.net.getNetwork({ vmId: tenant.vmId }, { signal });
  if (network?.slot !== tenant.slot) return check("net.attached", false, "another slot is attached");
  const isSame = tenant.replacedEgress === undefined && sameEgress(tenant.egress, toEgress(network.egress));
  return check("net.attached", isSame, isSame ? `slot ${tenant.slot}` : "under another policy than the tenant's");
}

async function checkRules({ parts }: Lifecycle, { vmId }: TenantRecord, signal: AbortSignal) {
  try {
    const { drifts } = await parts.net.repairNetwork({ vmId }, { signal });
    const found = drifts.map(({ kind, object }) => `${kind} ${object}`).join("; ");
    return { drifts, check: check("net.rules", drifts.length === 0, found || "as recorded") };
  } catch (error) {
    return { drifts: [], check: unanswered("net.rules", error) };
  }
}

async function checkRoute({ parts }: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<Check> {
  const { route } = await parts.proxy.getRoute({ tenant: tenant.name }, { signal });
  const isOwn =
    route?.vmId === tenant.vmId &&
    route.generation === tenant.generation &&
    route.state !== RouteState.ASLEEP &&
    route.extraHostNames.join() === tenant.extraHostNames.join();
  return check("route.published", isOwn, isOwn ? `generation ${route.generation}` : "leads elsewhere");
}

async function guarded(name: CheckName, run: () => Promise<Check>): Promise<Check> {
  try {
    return await run();
  } catch (error) {
    return unanswered(name, error);
  }
}

/** That there is none is an answer. */
const absences: ReadonlySet<string> = new Set(["NETWORK_NOT_FOUND", "ROUTE_NOT_FOUND"]);

function unanswered(name: CheckName, error: unknown): Check {
  const reason = reasonOf(toConnectError(error)) ?? "INTERNAL";
  return check(name, false, reason, absences.has(reason));
}

const maxDetail = 512;

function check(name: CheckName, passed: boolean, detail: string, isKnown = true): Check {
  return { name, passed, detail: detail.slice(0, maxDetail), isKnown };
}

function workloadText(state: WorkloadState): string {
  const name = WorkloadStateSchema.values.find(({ number }) => number === state)?.name ?? "unknown";
  return name.replace("WORKLOAD_STATE_", "").toLowerCase().replaceAll("_", " ");
}
