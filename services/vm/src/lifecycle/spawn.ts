import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { fail } from "../errors.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import {
  type AttachedTenant,
  attachNetwork,
  type BootSecrets,
  bootOnce,
  clearBootSecrets,
  injectSecrets,
  issueIdentity,
  together,
} from "./boot.ts";
import { measureCapacity, requireRoom } from "./capacity.ts";
import { createDiskKey } from "./disk-key.ts";
import { admitSpawn } from "./drain.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { planResources, planTenant, type SpawnWish } from "./plan.ts";
import { publishTenantRoute } from "./tenant-route.ts";

/** Gives a prepared microVM its disk, under its own key, in place of an empty one before it boots; may be called again for another boot. */
export type DiskFill = (tenant: TenantRecord, diskKey: Uint8Array, signal: AbortSignal) => Promise<void>;

/**
 * Spawns a tenant and returns it running. What fails on the way is unwound before this throws, so that nothing is left; what
 * cannot be unwound now is retried by the reconciler, and the name stays taken until then.
 */
export async function spawnTenant(
  life: Lifecycle,
  wish: SpawnWish,
  signal: AbortSignal,
  fill?: DiskFill,
): Promise<TenantRecord> {
  await life.posture.admitSpawn();
  const resources = await planResources(wish, life.images, life.config);
  const capacity = await measureCapacity(life);
  const planned = life.journal.beginSpawn(() => {
    admitSpawn(life.drains);
    refuseTakenName(life, wish);
    refuseTakenHostNames(life, wish);
    requireRoom(capacity, life.tenants.resources(), resources);
    return planTenant(wish, resources, life.slots, capacity, life.now());
  });
  try {
    const tenant = await bringUp(life, planned, signal, fill);
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

async function bringUp(
  life: Lifecycle,
  planned: TenantRecord,
  cancelled: AbortSignal,
  fill: DiskFill | undefined,
): Promise<TenantRecord> {
  const { journal } = life;
  const { spawnLimitMs, workloadLimitMs } = life.config;
  const prepare = (signal: AbortSignal) =>
    journal.step(planned, "prepare-jail", () => makeDisk(life, planned, signal, fill));
  // A disk that is written takes as long as it is large, has a limit of its own and takes no place among the boots.
  const filled = fill === undefined ? undefined : await prepare(cancelled);
  // An image whose workload may take long to start makes the whole spawn longer by as much.
  const startLimitMs = (await life.images.find(planned.image))?.startLimitMs;
  const signal = endingAfter(spawnLimitMs + (startLimitMs ?? 0), cancelled);
  using _place = await inSpan("boot-queue", {}, () => life.bootQueue.enter(signal));
  journal.startSteps(planned, ["attach-network", "issue-identity", "prepare-jail"]);
  // The disk takes longest, and its key comes from where the identity does: it is asked for first.
  const [diskKey, tenant, identity] = await together([
    filled === undefined ? prepare(signal) : Promise.resolve(filled),
    journal.step(planned, "attach-network", () => attachNetwork(life, planned, signal)),
    journal.step(planned, "issue-identity", () => issueIdentity(life, planned, signal)),
  ]);
  signal.throwIfAborted();
  await journal.step(tenant, "boot-guest", () => bootGuest(life, tenant, { identity, diskKey }, signal, fill));
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

/** Returns the key of the tenant's new disk. */
async function makeDisk(
  life: Lifecycle,
  tenant: TenantRecord,
  signal: AbortSignal,
  fill: DiskFill | undefined,
): Promise<Uint8Array> {
  const diskKey = await createDiskKey(life, tenant, signal);
  await prepareJail(life, tenant, diskKey, signal, fill);
  return diskKey;
}

async function prepareJail(
  life: Lifecycle,
  tenant: TenantRecord,
  diskKey: Uint8Array,
  signal: AbortSignal,
  fill: DiskFill | undefined,
): Promise<void> {
  const { vmId, slot, image, resources } = tenant;
  await life.parts.vmm.prepare({ vmId, slot, image, overlayMib: resources.diskMib, diskKey });
  await fill?.(tenant, diskKey, signal);
}

/** Boots and waits for the agent. A boot that hangs (an emulated clock can fail to calibrate) is killed and tried once more. */
async function bootGuest(
  life: Lifecycle,
  tenant: AttachedTenant,
  secrets: BootSecrets & { readonly diskKey: Uint8Array },
  signal: AbortSignal,
  fill: DiskFill | undefined,
): Promise<void> {
  try {
    await bootOnce(life, tenant, secrets, signal);
  } catch (error) {
    signal.throwIfAborted();
    // Anything else, a jail that is not as ordered above all, would fail again and has to be seen.
    if (reasonOf(error) !== "BOOT_FAILED") throw error;
    life.logger.warn({ err: error, vmId: tenant.vmId }, "boot failed, trying once more");
    await life.parts.vmm.remove(tenant.vmId);
    await prepareJail(life, tenant, secrets.diskKey, signal, fill);
    if (life.tenants.findByVm(tenant.vmId)?.bootOrigin === "template")
      life.events.templateRefused(tenant, "the guest that began with it did not answer");
    await bootOnce(life, tenant, secrets, signal, { useTemplate: false });
  } finally {
    clearBootSecrets(secrets);
  }
}
