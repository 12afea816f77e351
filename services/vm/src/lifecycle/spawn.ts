import { randomUUID } from "node:crypto";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { currentTraceparent, inSpan, reportStages } from "@lobsterd/chassis/tracing.ts";
import type { IssueGuestIdentityResponse } from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import { fail } from "../errors.ts";
import { composeIdentityDrive } from "../guest/identity-drive.ts";
import type { TenantRecord } from "../store/tenants.ts";
import { measureCapacity, requireRoom } from "./capacity.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { planResources, planTenant, type SpawnWish } from "./plan.ts";
import { attachTenantNetwork } from "./tenant-network.ts";
import { publishTenantRoute } from "./tenant-route.ts";

/**
 * Spawns a tenant and returns it running. What fails on the way is unwound before this throws, so that nothing is left; what
 * cannot be unwound now is retried by the reconciler, and the name stays taken until then.
 */
export async function spawnTenant(life: Lifecycle, wish: SpawnWish, signal: AbortSignal): Promise<TenantRecord> {
  await life.posture.admitSpawn();
  const resources = await planResources(wish, life.images, life.config);
  const capacity = await measureCapacity(life.parts, life.config);
  const planned = life.journal.beginSpawn(() => {
    refuseTakenName(life, wish);
    refuseTakenHostNames(life, wish);
    requireRoom(capacity, life.tenants.resources(), resources);
    return planTenant(wish, resources, life.slots, capacity, life.now());
  });
  try {
    const tenant = await bringUp(life, planned, signal);
    signal.throwIfAborted();
    const running = life.journal.finishSpawn(tenant);
    life.events.tenantSpawned(running);
    return running;
  } catch (error) {
    await life.unwind(planned);
    life.events.tenantSpawnFailed(planned, error);
    throw error;
  }
}

async function bringUp(life: Lifecycle, planned: TenantRecord, cancelled: AbortSignal): Promise<TenantRecord> {
  const { journal } = life;
  const { bootLimitMs, spawnLimitMs, workloadLimitMs } = life.config;
  // An image whose workload may take long to start makes the whole spawn longer by as much.
  const startLimitMs = (await life.images.find(planned.image))?.startLimitMs;
  const signal = endingAfter(spawnLimitMs + (startLimitMs ?? 0), cancelled);
  using _place = await inSpan("boot-queue", {}, () => life.bootQueue.enter(signal));
  journal.startSteps(planned, ["attach-network", "issue-identity", "prepare-jail"]);
  const [tenant, identity] = await together([
    journal.step(planned, "attach-network", () => attachNetwork(life, planned, signal)),
    journal.step(planned, "issue-identity", () => issueIdentity(life, planned, signal)),
    journal.step(planned, "prepare-jail", () => prepareJail(life, planned)),
  ]);
  signal.throwIfAborted();
  await journal.step(tenant, "boot-guest", () => bootGuest(life, tenant, identity, bootLimitMs, signal));
  // The agent answered, so it has read its identity: the drive is emptied while the secrets are on their way.
  await together([
    inSpan("empty-identity-drive", {}, () => life.parts.vmm.emptyIdentityDrive(tenant.vmId)),
    journal.step(tenant, "inject-secrets", () => injectSecrets(life, tenant, signal)),
  ]);
  await journal.step(tenant, "await-workload", async () => {
    const limitMs = startLimitMs ?? workloadLimitMs;
    life.reportGuestSpans(await life.parts.guests.awaitWorkload(tenant, limitMs, signal));
  });
  await journal.step(tenant, "publish-route", () => publishTenantRoute(life.parts, tenant, { signal }));
  return tenant;
}

function endingAfter(limitMs: number, signal: AbortSignal): AbortSignal {
  const late = new AbortController();
  const tooLate = fail("SPAWN_LIMIT_EXCEEDED", `the spawn took longer than ${limitMs} ms`);
  AbortSignal.timeout(limitMs).addEventListener("abort", () => late.abort(tooLate));
  return AbortSignal.any([signal, late.signal]);
}

function refuseTakenName({ tenants }: Lifecycle, { name }: SpawnWish): void {
  const existing = tenants.find(name);
  if (existing === undefined) return;
  if (existing.phase === "evicting") {
    throw fail("TENANT_BUSY", `tenant ${name} is being evicted`, { metadata: { tenant: name } });
  }
  throw fail("TENANT_EXISTS", `tenant ${name} exists already`, { metadata: { tenant: name } });
}

/**
 * `proxy` refuses these as well, but after the boot, and it may have lost a route that the reconciler is about to publish again: of two
 * tenants in the store with one name, the first could then not have its own back.
 */
function refuseTakenHostNames({ tenants }: Lifecycle, { extraHostNames }: SpawnWish): void {
  const taken = extraHostNames.find((hostName) => tenants.findByExtraHostName(hostName) !== undefined);
  if (taken === undefined) return;
  throw fail("HOST_NAME_TAKEN", `${taken} belongs to another tenant`, { metadata: { host_name: taken } });
}

/** A tenant with its network, and what its guest has to be told of it. */
interface AttachedTenant extends TenantRecord {
  readonly resolvers: readonly string[];
}

async function attachNetwork(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<AttachedTenant> {
  const network = await attachTenantNetwork(life.parts, tenant, { signal });
  const guestAddress = network?.guestAddress ?? "";
  life.tenants.setGuestAddress(tenant.vmId, guestAddress);
  return { ...tenant, guestAddress, resolvers: network?.resolverAddresses ?? [] };
}

async function issueIdentity(
  life: Lifecycle,
  { name, vmId, generation }: TenantRecord,
  signal: AbortSignal,
): Promise<IssueGuestIdentityResponse> {
  const request = { requestId: randomUUID(), tenant: name, vmId, generation };
  const identity = await life.parts.secrets.issueGuestIdentity(request, { signal });
  life.renewals.issued(vmId, identity.expireTime);
  return identity;
}

async function prepareJail(life: Lifecycle, { vmId, slot, image, resources }: TenantRecord): Promise<void> {
  await life.parts.vmm.prepare({ vmId, slot, image, overlayMib: resources.diskMib });
}

/** Boots and waits for the agent. A boot that hangs (an emulated clock can fail to calibrate) is killed and tried once more. */
async function bootGuest(
  life: Lifecycle,
  tenant: AttachedTenant,
  identity: IssueGuestIdentityResponse,
  limitMs: number,
  signal: AbortSignal,
): Promise<void> {
  const { vmm, guests } = life.parts;
  const boot = async () => {
    await startMicroVm(life, tenant, identity);
    await inSpan("await-agent", {}, () => guests.awaitAgent(tenant, limitMs, signal));
  };
  try {
    await boot();
  } catch (error) {
    signal.throwIfAborted();
    // Anything else, a jail that is not as ordered above all, would fail again and has to be seen.
    if (reasonOf(error) !== "BOOT_FAILED") throw error;
    life.logger.warn({ err: error, vmId: tenant.vmId }, "boot failed, trying once more");
    await vmm.remove(tenant.vmId);
    await prepareJail(life, tenant);
    await boot();
  } finally {
    identity.privateKeyPem?.value.fill(0);
  }
}

async function startMicroVm(
  life: Lifecycle,
  tenant: AttachedTenant,
  identity: IssueGuestIdentityResponse,
): Promise<void> {
  const { vmId, slot, image, name, resources } = tenant;
  const drive = composeIdentityDrive({
    tenant,
    identity,
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
      const { stagesMs } = await life.parts.vmm.start({
        vmId,
        slot,
        image,
        vcpuCount,
        memoryMib,
        generation: tenant.generation,
        identityDrive: drive,
      });
      reportStages(Object.entries(stagesMs).map(([stage, durationMs]) => ({ name: `launcher ${stage}`, durationMs })));
    });
  } finally {
    drive.fill(0);
  }
}

async function injectSecrets(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<void> {
  const { name, vmId, generation, guestAddress, labels } = tenant;
  const { secrets } = life.parts;
  const guest = { tenant: name, vmId, generation };
  await secrets.acquireInjectionLease({ requestId: randomUUID(), ...guest }, { signal });
  await secrets.injectSecrets({ requestId: randomUUID(), ...guest, guestAddress, labels: { ...labels } }, { signal });
}

/** Waits for all, then throws the first failure: unwinding must not overtake a step that is still making something. */
async function together<const Work extends readonly Promise<unknown>[]>(work: Work) {
  const results = await Promise.allSettled(work);
  for (const result of results) if (result.status === "rejected") throw result.reason;
  return await Promise.all(work);
}
