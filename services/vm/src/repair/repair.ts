/**
 * Repairs one tenant: check, repair what a check found, check again. What it does is what start-up and the reconciler do, for one tenant and at
 * once. The rules:
 *
 * 1. All of it is one turn of the tenant: nothing else is done to it meanwhile, and it is not suspended.
 * 2. From the cheap to the dear: network, then the agent is asked again, then the workload, and only then the guest is booted again.
 * 3. A guest that is booted again keeps its disk, its slot and its names, and has the next generation; what it had in memory is lost.
 * 4. A repair that fails leaves the tenant to be repaired again.
 * 5. What is not known is not repaired: a guest is not ended because a service that would know of it is away.
 */
import { randomUUID } from "node:crypto";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { WorkloadState } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import { fail } from "../errors.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import { restoreNetwork, restoreRoute } from "../lifecycle/reconcile.ts";
import { resumeTenant } from "../lifecycle/resume.ts";
import { settlers } from "../lifecycle/settle.ts";
import { bootAgain } from "../lifecycle/wake.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import { type Check, checkTenant, type Findings, hasFailed, isUnknown, passes } from "./checks.ts";
import type { RepairAction } from "./names.ts";
import { patienceMs } from "./patience.ts";

export interface RepairStep {
  readonly action: RepairAction;
  /** Stable reason of a failure; empty when it succeeded. */
  readonly reason: string;
}

export interface RepairReport {
  readonly before: readonly Check[];
  readonly after: readonly Check[];
  readonly steps: readonly RepairStep[];
  readonly tenant: TenantRecord;
}

/**
 * Repairs a tenant whatever it is in; a suspended one is resumed first. What cannot be repaired is in the report. Throws TENANT_NOT_FOUND, TENANT_BUSY
 * while it is spawned or evicted or an earlier operation cannot be ended, and what a resume fails with.
 */
export async function repairTenant(life: Lifecycle, name: string): Promise<RepairReport> {
  const { vmId } = requireHere(life.tenants.find(name), name);
  return await life.turns.take(vmId, async (evicted) => {
    const operation = life.journal.find(vmId);
    // Nobody else has the turn: whoever began it is gone. What it left is not to be repaired but brought to its end.
    if (operation !== undefined) await settlers[operation.kind]?.(life, operation);
    const tenant = requireHere(life.tenants.findByVm(vmId), name);
    if (life.journal.find(vmId) !== undefined)
      throw fail("TENANT_BUSY", `tenant ${name} is not done with what was begun`, { metadata: { tenant: name } });
    const steps: RepairStep[] = [];
    if (tenant.phase === "suspended") {
      await resumeTenant(life, randomUUID(), name);
      steps.push({ action: "resume-tenant", reason: "" });
    }
    return await mendTenant(life, requireHere(life.tenants.findByVm(vmId), name), evicted, steps);
  });
}

/** The same for a tenant that is running or failed, in a turn that the caller has. */
export async function mendTenant(
  life: Lifecycle,
  tenant: TenantRecord,
  evicted: AbortSignal,
  steps: RepairStep[] = [],
): Promise<RepairReport> {
  const { name, vmId } = tenant;
  return await inSpan("repair-tenant", { "lobsterd.tenant": name, "lobsterd.vm_id": vmId }, async () => {
    const askedMs = performance.now();
    const before = await checkTenant(life, tenant, evicted);
    let after = before;
    if (!passes(before)) {
      await mend(life, tenant, { ...before, askedMs }, evicted, steps);
      evicted.throwIfAborted();
      after = await checkTenant(life, life.tenants.findByVm(vmId) ?? tenant, evicted);
    }
    if (passes(after)) heal(life, tenant);
    return { before: before.checks, after: after.checks, steps, tenant: life.tenants.findByVm(vmId) ?? tenant };
  });
}

/** A FAILED tenant that is whole is running, whoever mended it. */
function heal(life: Lifecycle, before: TenantRecord): void {
  if (before.phase !== "failed") return;
  const now = life.tenants.findByVm(before.vmId);
  if (now?.phase === "failed") life.tenants.markRunning(now.vmId, now.readyTimeMs ?? life.now(), life.now());
  if (now !== undefined) life.events.tenantHealed(now);
}

async function mend(
  life: Lifecycle,
  tenant: TenantRecord,
  found: Findings & { readonly askedMs: number },
  evicted: AbortSignal,
  steps: RepairStep[],
): Promise<void> {
  const attempt = (action: RepairAction, run: () => Promise<unknown>) => take(life, tenant, action, run, steps);
  if (found.drifts.length > 0) await attempt("repair-rules", async () => undefined);
  const boot = () => attempt("boot-guest", () => bootAgain(life, tenant, evicted));
  // Rule 5.
  if (isUnknown(found, "vm.process")) return;
  // A boot brings network and route along.
  if (tenant.phase === "failed" || hasFailed(found, "vm.process")) return void (await boot());
  if (hasFailed(found, "net.attached")) await attempt("reattach-network", () => restoreNetwork(life, tenant));
  // One that was cut off could not answer, and has all of its time from now on.
  const wasCutOff = found.drifts.length > 0 || hasFailed(found, "net.attached");
  const askedMs = wasCutOff ? performance.now() : found.askedMs;
  const workload = found.workload ?? (await askAgain(life, tenant, askedMs, evicted));
  if (workload === undefined && isUnknown(found, "net.attached", "net.rules")) return;
  if (workload === undefined || workload === WorkloadState.WAITING_FOR_SECRETS) return void (await boot());
  if (hasFailed(found, "route.published")) await attempt("publish-route", () => restoreRoute(life, tenant));
  if (workload === WorkloadState.HEALTHY) return;
  if (workload !== WorkloadState.FAILED && (await isHealthyInTime(life, tenant, workload, evicted))) return;
  if (!(await attempt("restart-workload", () => restartWorkload(life, tenant, evicted)))) await boot();
}

/** One step in a span of its own, told whether it helped or not. Returns whether it did. */
async function take(
  life: Lifecycle,
  tenant: TenantRecord,
  action: RepairAction,
  run: () => Promise<unknown>,
  steps: RepairStep[],
): Promise<boolean> {
  const { name, vmId } = tenant;
  try {
    await inSpan(action, { "lobsterd.tenant": name, "lobsterd.vm_id": vmId }, run);
  } catch (error) {
    const here = life.tenants.findByVm(vmId);
    if (here === undefined || here.phase === "evicting") throw error;
    life.events.tenantRepairFailed(here, action, error);
    steps.push({ action, reason: reasonOf(error) ?? "INTERNAL" });
    return false;
  }
  // These two are told where they are done, since the reconciler does them too.
  if (action !== "reattach-network" && action !== "publish-route")
    life.events.tenantRepaired(life.tenants.findByVm(vmId) ?? tenant, action);
  steps.push({ action, reason: "" });
  return true;
}

/** A guest's kernel that refuses connections for so long is there, and its agent is not: there is nothing to wait for. */
const refusedLimitMs = 2_000;

/** `askedMs`: since when it is asked, of `performance.now()`. */
async function askAgain(
  { parts: { guests } }: Lifecycle,
  tenant: TenantRecord,
  askedMs: number,
  signal: AbortSignal,
): Promise<WorkloadState | undefined> {
  const limitMs = Math.max(0, Math.round(patienceMs() - (performance.now() - askedMs)));
  try {
    await guests.awaitAgent(tenant, limitMs, signal, refusedLimitMs);
  } catch {
    signal.throwIfAborted();
    return undefined; // that it does not answer is the answer
  }
  return await guests.workloadState(tenant, signal);
}

async function restartWorkload(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<void> {
  await life.parts.guests.restartWorkload(tenant, signal);
  await awaitWorkload(life, tenant, signal);
}

/** One that starts has as much time as at a boot. */
async function isHealthyInTime(
  life: Lifecycle,
  tenant: TenantRecord,
  state: WorkloadState,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await awaitWorkload(life, tenant, signal, state === WorkloadState.STARTING ? undefined : patienceMs());
    return true;
  } catch {
    signal.throwIfAborted();
    return false; // which is what the caller asks
  }
}

async function awaitWorkload(
  life: Lifecycle,
  tenant: TenantRecord,
  signal: AbortSignal,
  boundMs?: number,
): Promise<void> {
  const limitMs = boundMs ?? (await life.images.find(tenant.image))?.startLimitMs ?? life.config.workloadLimitMs;
  life.reportGuestSpans(await life.parts.guests.awaitWorkload(tenant, limitMs, signal));
}

function requireHere(tenant: TenantRecord | undefined, name: string): TenantRecord {
  const metadata = { tenant: name };
  if (tenant === undefined) throw fail("TENANT_NOT_FOUND", `there is no tenant ${name}`, { metadata });
  if (tenant.phase !== "spawning" && tenant.phase !== "evicting") return tenant;
  throw fail("TENANT_BUSY", `tenant ${name} is ${tenant.phase}`, { metadata });
}
