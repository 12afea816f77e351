/**
 * What a tenant may reach, as `vm` records it and `net` enforces it. The rules:
 *
 * 1. A new policy is durable before net hears of it; the one that it replaces is kept until net has taken it.
 * 2. A policy that net refuses is put back to the one before, so that it is never asked for again.
 * 3. A call whose end is not known leaves the new policy recorded: the reconciler brings net to it.
 * 4. All that tells net a policy has the tenant's turn, so that an older one cannot arrive after a newer one.
 */
import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import type { Network } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { fail, tenantNotFound } from "../errors.ts";
import { type Egress, sameEgress, toEgress, toEgressMessage } from "../network-policy.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { attachTenantNetwork } from "./tenant-network.ts";

/** Answers that say that nothing was changed. */
const updateRefusals: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.OutOfRange,
  Code.NotFound,
  Code.FailedPrecondition,
  Code.ResourceExhausted,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.Unimplemented,
]);
/** Of an attach, only this one is about the policy; others are about the slot or the host. */
const attachRefusals: ReadonlySet<Code> = new Set([Code.InvalidArgument]);

/**
 * Changes what a tenant may reach and returns it. Throws TENANT_NOT_FOUND, TENANT_BUSY, what net refuses with, or
 * EGRESS_UPDATE_INCOMPLETE when it is not known whether net took the policy.
 */
export async function updateEgress(life: Lifecycle, name: string, egress: Egress): Promise<TenantRecord> {
  const { vmId } = requireSettled(life.tenants.find(name), name);
  return await life.turns.take(vmId, async (signal) => {
    requireSettled(life.tenants.findByVm(vmId), name);
    const changing = life.tenants.beginEgressChange(vmId, egress);
    // It has no network: the policy is the one that it is given with its next.
    if (changing.phase === "suspended") return confirmed(life, vmId) ?? changing;
    try {
      await tellNet(life, changing, signal);
    } catch (cause) {
      signal.throwIfAborted();
      if (isRefusal(cause, updateRefusals)) throw cause;
      const message = `the policy of tenant ${name} is recorded and will be put in force; net did not confirm it`;
      throw fail("EGRESS_UPDATE_INCOMPLETE", message, { metadata: { tenant: name }, cause });
    }
    return life.tenants.findByVm(vmId) ?? changing;
  });
}

/** Brings a network to its tenant's policy if it has another one, or if a change of it did not end. */
export async function convergeEgress(life: Lifecycle, network: Network): Promise<void> {
  const { vmId } = network;
  const differs = ({ egress, replacedEgress }: TenantRecord) =>
    replacedEgress !== undefined || !sameEgress(egress, toEgress(network.egress));
  const seen = life.tenants.findByVm(vmId);
  if (seen === undefined || !differs(seen)) return;
  await life.turns.take(vmId, async (signal) => {
    const tenant = life.tenants.findByVm(vmId);
    if (tenant === undefined || !isSettled(tenant) || !differs(tenant)) return;
    life.logger.warn({ tenant: tenant.name, vmId }, "a network is under another policy than its tenant's");
    await tellNet(life, tenant, signal);
  });
}

/** Gives a running tenant the network back that it misses. Returns false for a tenant that is not running any more. */
export async function reattachNetwork(life: Lifecycle, vmId: string): Promise<boolean> {
  return await life.turns.take(vmId, async (signal) => {
    const tenant = life.tenants.findByVm(vmId);
    if (tenant?.phase !== "running") return false;
    await settleChange(life, tenant, attachRefusals, () =>
      inSpan("reattach-network", { "lobsterd.vm_id": vmId }, () => attachTenantNetwork(life.parts, tenant, { signal })),
    );
    return true;
  });
}

async function tellNet(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<void> {
  const request = { requestId: randomUUID(), vmId: tenant.vmId, egress: toEgressMessage(tenant.egress) };
  await settleChange(life, tenant, updateRefusals, () =>
    inSpan("update-egress", { "lobsterd.tenant": tenant.name, "lobsterd.vm_id": tenant.vmId }, () =>
      life.parts.net.updateNetworkEgress(request, { signal }),
    ),
  );
}

/** Makes a call that tells net the recorded policy, and ends a change by what net says to it. */
async function settleChange(
  life: Lifecycle,
  { vmId, replacedEgress }: TenantRecord,
  refusals: ReadonlySet<Code>,
  call: () => Promise<unknown>,
): Promise<void> {
  try {
    await call();
  } catch (error) {
    if (isRefusal(error, refusals)) life.tenants.restoreEgress(vmId);
    throw error;
  }
  if (replacedEgress !== undefined) confirmed(life, vmId);
}

function confirmed(life: Lifecycle, vmId: string): TenantRecord | undefined {
  const tenant = life.tenants.confirmEgress(vmId);
  if (tenant !== undefined) life.events.tenantEgressUpdated(tenant);
  return tenant;
}

/** Only what net itself answered counts: a call that ended on this side may have had its effect. */
function isRefusal(error: unknown, codes: ReadonlySet<Code>): boolean {
  return error instanceof ConnectError && error.isWireError && codes.has(error.code);
}

function isSettled({ phase }: TenantRecord): boolean {
  return phase === "running" || phase === "failed" || phase === "suspended";
}

/** Throws TENANT_NOT_FOUND, or TENANT_BUSY while something is done to it. */
export function requireSettled(tenant: TenantRecord | undefined, name: string): TenantRecord {
  const metadata = { tenant: name };
  if (tenant === undefined) throw tenantNotFound(name);
  if (isSettled(tenant)) return tenant;
  throw fail("TENANT_BUSY", `tenant ${name} is ${tenant.phase}`, { metadata });
}
