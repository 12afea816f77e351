/**
 * Brings a tenant that is no sealed file back to running: the guest that is there goes on under its next generation, or its disk is booted. A guest is
 * given up only for its own faults; while a service is away the tenant waits for it, within a bound.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { fail } from "../errors.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import { attachNetwork, bootOnce, clearBootSecrets, injectSecrets, issueIdentity, together } from "./boot.ts";
import { unwrapDiskKey } from "./disk-key.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { limited } from "./sleep-calls.ts";
import { publishTenantRoute } from "./tenant-route.ts";

/** Reasons that a guest or its VMM is at fault for; any other may pass by itself. */
const guestFaults: ReadonlySet<string> = new Set([
  "GUEST_UNREACHABLE",
  "GUEST_MISBEHAVED",
  "GUEST_REFUSED",
  "GUEST_IDENTITY_REFUSED",
  "RESUME_LIMIT_EXCEEDED",
  "NOT_FOUND",
  "WRONG_STATE",
  "VMM_FAILED",
  "BOOT_FAILED",
  "WORKLOAD_FAILED",
  "JAIL_MISMATCH",
  "MACHINE_MISMATCH",
]);

const spansAfterMs = 1_000;

/** Generations that a guest may have taken without `vm` having heard of it, looked for from the newest on. */
const maxCandidates = 8;

/**
 * Returns the tenant running under `tenant.generation` or a later one. Throws RESUME_INCOMPLETE when a service is away, after which the reconciler goes
 * on, or RESUME_FAILED when its disk does not boot either; the tenant is `failed` then and keeps its disk.
 */
export async function wakeOrBoot(life: Lifecycle, tenant: TenantRecord, evicted: AbortSignal): Promise<TenantRecord> {
  try {
    await wakeGuest(life, tenant, limitedByConfig(life, evicted));
    return end(life, tenant, evicted, false);
  } catch (error) {
    evicted.throwIfAborted();
    requireFault(life, tenant, error);
    life.logger.warn({ err: error, tenant: tenant.name, vmId: tenant.vmId }, "a guest cannot be woken");
  }
  return await bootAnew(life, tenant, evicted);
}

/**
 * Boots the tenant's disk under its next generation, whatever runs; its memory is lost. Returns it running, and throws as `wakeOrBoot` does.
 */
export async function bootAnew(life: Lifecycle, tenant: TenantRecord, evicted: AbortSignal): Promise<TenantRecord> {
  // An image whose workload may take long to start has as much more time to be booted.
  const startLimitMs = (await life.images.find(tenant.image))?.startLimitMs;
  evicted.throwIfAborted();
  const booting = life.journal.beginWake(tenant);
  try {
    const booted = await bootDisk(life, booting, startLimitMs, limitedByConfig(life, evicted, startLimitMs));
    return end(life, booted, evicted, true);
  } catch (error) {
    evicted.throwIfAborted();
    requireFault(life, booting, error, startLimitMs);
    await life.parts.vmm.stop(booting.vmId);
    evicted.throwIfAborted();
    life.waits.end(booting.vmId);
    life.journal.endFailed(booting, "RESUME_FAILED");
    life.events.tenantFailed(booting, "RESUME_FAILED");
    const message = `tenant ${tenant.name} could be brought back neither from its memory nor from its disk`;
    throw fail("RESUME_FAILED", message, { metadata: { tenant: tenant.name }, cause: error });
  }
}

function limitedByConfig({ config }: Lifecycle, evicted: AbortSignal, startLimitMs = 0): AbortSignal {
  const resumeLimitMs = config.resumeLimitMs + startLimitMs;
  const overdue = fail("RESUME_LIMIT_EXCEEDED", `the resume took longer than ${resumeLimitMs} ms`);
  return limited(evicted, resumeLimitMs, overdue);
}

function end(life: Lifecycle, tenant: TenantRecord, evicted: AbortSignal, isFresh: boolean): TenantRecord {
  evicted.throwIfAborted();
  life.waits.end(tenant.vmId);
  const running = life.journal.endResumed(tenant);
  life.events.tenantResumed(running, isFresh);
  return running;
}

/** Throws RESUME_INCOMPLETE for a failure that may pass, unless it has been waited for long enough. */
function requireFault(life: Lifecycle, { name, vmId }: TenantRecord, cause: unknown, startLimitMs = 0): void {
  if (guestFaults.has(reasonOf(cause) ?? "")) return;
  if (life.waits.isOver(vmId, life.config.resumeLimitMs + startLimitMs)) return;
  const message = `tenant ${name} is not awake yet: a service did not do its part; it goes on`;
  throw fail("RESUME_INCOMPLETE", message, { metadata: { tenant: name }, cause });
}

/**
 * Boots a tenant's disk under its next generation, whatever runs of it now. Throws what failed; then nothing of it runs and the tenant is what it
 * was, to be tried again.
 */
export async function bootAgain(life: Lifecycle, tenant: TenantRecord, evicted: AbortSignal): Promise<TenantRecord> {
  const startLimitMs = (await life.images.find(tenant.image))?.startLimitMs;
  using _place = await inSpan("boot-queue", {}, () => life.bootQueue.enter(evicted));
  evicted.throwIfAborted();
  const booting = life.journal.beginWake(tenant);
  try {
    const booted = await bootDisk(life, booting, startLimitMs, limitedByConfig(life, evicted, startLimitMs));
    return end(life, booted, evicted, true);
  } catch (error) {
    evicted.throwIfAborted();
    await life.parts.vmm.stop(tenant.vmId).catch((cause: unknown) => {
      if (reasonOf(cause) !== "NOT_FOUND") throw cause;
    });
    evicted.throwIfAborted();
    life.journal.endUnrepaired(tenant);
    throw error;
  }
}

/** The guest answers to nobody but `vm` until it has its new identity, and to people once it has its secrets back. */
async function wakeGuest(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<void> {
  const { journal, parts } = life;
  parts.guests.forget(tenant.vmId);
  await journal.step(tenant, "run-guest", () => runGuest(life, tenant.vmId));
  await journal.step(tenant, "renew-identity", () => renewIdentity(life, tenant, signal));
  await journal.step(tenant, "return-secrets", () => injectSecrets(life, tenant, signal));
  await journal.step(tenant, "wake-workload", () => parts.guests.completeResume(tenant, signal));
  signal.throwIfAborted();
  void reportLater(life, tenant, signal);
  await journal.step(tenant, "return-route", () => publishTenantRoute(parts, tenant, { signal }));
}

/** Nobody waits for a trace, and the guest has its first answers to give meanwhile. */
async function reportLater(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<void> {
  try {
    await delay(spansAfterMs, undefined, { signal, ref: false });
    life.reportGuestSpans(await life.parts.guests.finishedSpans(tenant, signal));
  } catch {
    // it was evicted
  }
}

/** Lets the one guest that is there go on, whether it was loaded, saved or never paused. */
async function runGuest({ parts }: Lifecycle, vmId: string): Promise<void> {
  try {
    await parts.vmm.resume(vmId);
  } catch (error) {
    if (reasonOf(error) !== "WRONG_STATE") throw error;
    await parts.vmm.unpause(vmId);
  }
}

async function renewIdentity(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<void> {
  const { name, vmId, generation } = tenant;
  let expireTime: Timestamp | undefined;
  await life.parts.guests.takeGeneration(
    tenant,
    candidates(tenant),
    async ({ publicKey, proof }) => {
      const request = { requestId: randomUUID(), tenant: name, vmId, generation, publicKey, proof };
      const certified = await life.parts.secrets.renewGuestIdentity(request, { signal });
      expireTime = certified.expireTime;
      return certified;
    },
    signal,
  );
  life.tenants.settleGeneration(vmId);
  life.renewals.issued(vmId, expireTime);
}

function candidates({ generation, settledGeneration }: TenantRecord): readonly number[] {
  const newest = Array.from({ length: maxCandidates }, (_, index) => generation - 1 - index);
  return [...new Set([settledGeneration, ...newest.filter((candidate) => candidate > settledGeneration)])];
}

/** Boots the tenant's own disk under its next generation. What was in memory only is lost. */
async function bootDisk(
  life: Lifecycle,
  tenant: TenantRecord,
  startLimitMs: number | undefined,
  signal: AbortSignal,
): Promise<TenantRecord> {
  const { journal, parts, config } = life;
  parts.guests.forget(tenant.vmId);
  await parts.vmm.stop(tenant.vmId);
  const sized = life.tenants.takeNextResources(tenant.vmId);
  const attached = await journal.step(tenant, "join-network", () => attachNetwork(life, sized, signal));
  const [identity, diskKey] = await together([
    issueIdentity(life, tenant, signal),
    unwrapDiskKey(life, tenant, signal),
  ]);
  const secrets = { identity, diskKey };
  try {
    await journal.step(tenant, "boot-guest", () => bootOnce(life, attached, secrets, signal));
  } finally {
    clearBootSecrets(secrets);
  }
  await together([
    inSpan("empty-identity-drive", {}, () => parts.vmm.emptyIdentityDrive(tenant.vmId)),
    journal.step(tenant, "return-secrets", () => injectSecrets(life, attached, signal)),
  ]);
  await journal.step(tenant, "await-workload", async () => {
    const limitMs = startLimitMs ?? config.workloadLimitMs;
    life.reportGuestSpans(await parts.guests.awaitWorkload(attached, limitMs, signal));
  });
  signal.throwIfAborted();
  await journal.step(tenant, "return-route", () => publishTenantRoute(parts, attached, { signal }));
  return attached;
}
