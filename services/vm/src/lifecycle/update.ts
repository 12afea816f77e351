/**
 * Changes a tenant that is there. The rules:
 *
 * 1. Everything that can be judged here is judged first, the room on the host in the transaction that promises it.
 * 2. All of it is recorded before `net` hears of any of it; a policy that `net` refuses puts all of it back.
 * 3. The machine of a guest is changed by its next boot only: what is saved or loaded meanwhile is the machine that it has.
 * 4. Limits that `net` did not confirm are told it again by the reconciler.
 */
import { randomUUID } from "node:crypto";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { fail } from "../errors.ts";
import type { Egress, NetworkLimits } from "../network-policy.ts";
import type { Resources, TenantRecord } from "../store/tenant-record.ts";
import { measureCapacity, requireRoom } from "./capacity.ts";
import { requireSettled, updateEgress } from "./egress.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { planResources } from "./plan.ts";

/** What is absent is not changed. */
export interface TenantUpdate {
  readonly egress?: Egress | undefined;
  readonly networkLimits?: NetworkLimits | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly resources?: Partial<Pick<Resources, "vcpuCount" | "memoryMib">> | undefined;
}

/**
 * Returns the tenant. Throws TENANT_NOT_FOUND, TENANT_BUSY, UNKNOWN_IMAGE, RESOURCES_OUT_OF_RANGE, HOST_FULL and what `net` refuses a policy with, after
 * which nothing is changed; EGRESS_UPDATE_INCOMPLETE or LIMITS_UPDATE_INCOMPLETE when all of it is recorded and `net` did not confirm.
 */
export async function updateTenant(life: Lifecycle, name: string, update: TenantUpdate): Promise<TenantRecord> {
  const { vmId } = requireSettled(life.tenants.find(name), name);
  return await life.turns.take(vmId, async (evicted) => {
    const before = requireSettled(life.tenants.findByVm(vmId), name);
    const resources = update.resources && (await planNext(life, before, update.resources));
    const capacity = resources && (await measureCapacity(life));
    evicted.throwIfAborted();
    life.journal.recordUpdate(() => {
      if (resources !== undefined && capacity !== undefined)
        requireRoom(capacity, life.tenants.resources(vmId), larger(before.resources, resources));
      return changed(before, update, resources);
    });
    if (update.egress !== undefined) await changeEgress(life, before, update.egress);
    if (update.networkLimits !== undefined) await convergeLimits(life, vmId);
    const after = life.tenants.findByVm(vmId) ?? before;
    life.events.tenantUpdated(after, Object.keys(update));
    return after;
  });
}

async function planNext(
  { images, config }: Lifecycle,
  { image, resources, nextResources }: TenantRecord,
  wanted: NonNullable<TenantUpdate["resources"]>,
): Promise<Resources> {
  const planned = await planResources(
    { image, resources: { ...resources, ...nextResources, ...wanted } },
    images,
    config,
  );
  // The disk is what it was made: bounds of today do not change it.
  return { ...planned, diskMib: resources.diskMib };
}

/** A guest that runs keeps what it has until it is booted again. */
function larger(a: Resources, b: Resources): Resources {
  return {
    vcpuCount: Math.max(a.vcpuCount, b.vcpuCount),
    memoryMib: Math.max(a.memoryMib, b.memoryMib),
    diskMib: a.diskMib,
  };
}

function changed(before: TenantRecord, update: TenantUpdate, next: Resources | undefined): TenantRecord {
  const { resources } = before;
  const isSame = next?.vcpuCount === resources.vcpuCount && next.memoryMib === resources.memoryMib;
  const { vcpuCount, memoryMib } = next ?? resources;
  return {
    ...before,
    labels: update.labels ?? before.labels,
    networkLimits: update.networkLimits ?? before.networkLimits,
    areLimitsPending: before.areLimitsPending || update.networkLimits !== undefined,
    nextResources: next === undefined ? before.nextResources : isSame ? undefined : { vcpuCount, memoryMib },
  };
}

async function changeEgress(life: Lifecycle, before: TenantRecord, egress: Egress): Promise<void> {
  try {
    await updateEgress(life, before.name, egress);
  } catch (error) {
    if (reasonOf(error) !== "EGRESS_UPDATE_INCOMPLETE" && life.tenants.findByVm(before.vmId)?.phase !== "evicting")
      life.tenants.recordUpdate(before);
    throw error;
  }
}

/** Tells `net` the limits of a tenant that it is not known to have taken. Throws LIMITS_UPDATE_INCOMPLETE. */
export async function convergeLimits(life: Lifecycle, vmId: string): Promise<void> {
  await life.turns.take(vmId, async (signal) => {
    const tenant = life.tenants.findByVm(vmId);
    if (tenant?.areLimitsPending !== true) return;
    if (tenant.phase !== "suspended") await tellNet(life, tenant, signal);
    life.tenants.confirmLimits(vmId);
  });
}

async function tellNet(
  life: Lifecycle,
  { name, vmId, networkLimits }: TenantRecord,
  signal: AbortSignal,
): Promise<void> {
  const request = { requestId: randomUUID(), vmId, limits: networkLimits };
  try {
    await inSpan("update-limits", { "lobsterd.tenant": name, "lobsterd.vm_id": vmId }, () =>
      life.parts.net.updateNetworkLimits(request, { signal }),
    );
  } catch (cause) {
    signal.throwIfAborted();
    // Then they are the limits of its next one.
    if (reasonOf(cause) === "NETWORK_NOT_FOUND") return;
    const message = `the limits of tenant ${name} are recorded and will be put in force; net did not confirm them`;
    throw fail("LIMITS_UPDATE_INCOMPLETE", message, { metadata: { tenant: name }, cause });
  }
}
