/** What every life of a guest needs, whether it is spawned, resumed or booted anew from its disk. */
import { randomUUID } from "node:crypto";
import { currentTraceparent, inSpan, reportStages } from "@lobsterd/chassis/tracing.ts";
import type { IssueGuestIdentityResponse } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { composeIdentityDrive } from "../guest/identity-drive.ts";
import { vmMetrics } from "../metrics.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { attachTenantNetwork } from "./tenant-network.ts";

/** A tenant with its network, and what its guest has to be told of it. */
export interface AttachedTenant extends TenantRecord {
  readonly resolvers: readonly string[];
}

export async function attachNetwork(
  life: Lifecycle,
  tenant: TenantRecord,
  signal: AbortSignal,
): Promise<AttachedTenant> {
  const network = await attachTenantNetwork(life.parts, tenant, { signal });
  const guestAddress = network?.guestAddress ?? "";
  life.tenants.setGuestAddress(tenant.vmId, guestAddress);
  return { ...tenant, guestAddress, resolvers: network?.resolverAddresses ?? [] };
}

export async function issueIdentity(
  life: Lifecycle,
  { name, owner, vmId, generation }: TenantRecord,
  signal: AbortSignal,
): Promise<IssueGuestIdentityResponse> {
  const request = { requestId: randomUUID(), tenant: name, owner, vmId, generation };
  const identity = await life.parts.secrets.issueGuestIdentity(request, { signal });
  life.renewals.issued(vmId, identity.expireTime);
  return identity;
}

/** What a boot brings to the guest on its identity drive; both keys are the caller's to clear. */
export interface BootSecrets {
  readonly identity: IssueGuestIdentityResponse;
  /** Undefined for a plain disk. */
  readonly diskKey: Uint8Array | undefined;
}

export function clearBootSecrets({ identity, diskKey }: BootSecrets): void {
  identity.privateKeyPem?.value.fill(0);
  diskKey?.fill(0);
}

/** Starts the microVM and returns when its agent answers. */
export async function bootOnce(
  life: Lifecycle,
  tenant: AttachedTenant,
  secrets: BootSecrets,
  signal: AbortSignal,
  { useTemplate = true }: { readonly useTemplate?: boolean } = {},
): Promise<void> {
  await startMicroVm(life, tenant, secrets, useTemplate);
  await inSpan("await-agent", {}, () => life.parts.guests.awaitAgent(tenant, life.config.bootLimitMs, signal));
}

async function startMicroVm(
  life: Lifecycle,
  tenant: AttachedTenant,
  secrets: BootSecrets,
  useTemplate: boolean,
): Promise<void> {
  const { vmId, slot, image, name, resources } = tenant;
  const drive = composeIdentityDrive({
    tenant,
    ...secrets,
    trustDomain: life.config.trustDomain,
    hostNames: [`${name}.${life.config.domain}`, `${name}.guest.internal`, ...tenant.extraHostNames],
    resolvers: tenant.resolvers,
    hostTimeMs: life.now(),
    traceparent: currentTraceparent(),
    tokenDigest: life.parts.guests.tokenDigest(tenant),
  });
  try {
    const { vcpuCount, memoryMib } = resources;
    await inSpan("start-vmm", {}, async () => {
      const { stagesMs, templateMs, origin, templateFault } = await life.parts.vmm.start({
        vmId,
        slot,
        image,
        vcpuCount,
        memoryMib,
        generation: tenant.generation,
        identityDrive: drive,
        useTemplate,
      });
      reportStages(Object.entries(stagesMs).map(([stage, durationMs]) => ({ name: `launcher ${stage}`, durationMs })));
      const name = origin === "template" ? "load-template" : "save-template";
      if (templateMs > 0) reportStages([{ name, durationMs: templateMs }]);
      const what = origin === "template" ? "template" : "kernel";
      life.tenants.setBootOrigin(vmId, what);
      vmMetrics.guestStarts.add(1, { what });
      if (templateFault !== undefined) life.events.templateRefused(tenant, templateFault);
    });
  } finally {
    drive.fill(0);
  }
}

export async function injectSecrets(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<void> {
  const { name, vmId, generation, guestAddress, labels } = tenant;
  const { secrets } = life.parts;
  const guest = { tenant: name, vmId, generation };
  await secrets.acquireInjectionLease({ requestId: randomUUID(), ...guest }, { signal });
  await secrets.injectSecrets({ requestId: randomUUID(), ...guest, guestAddress, labels: { ...labels } }, { signal });
}

/** Waits for all, then throws the first failure: unwinding must not overtake a step that is still making something. */
export async function together<const Work extends readonly (Promise<unknown> | undefined)[]>(work: Work) {
  const results = await Promise.allSettled(work);
  for (const result of results) if (result.status === "rejected") throw result.reason;
  return await Promise.all(work);
}
