/**
 * Resumes a tenant: everything is verified before anything is loaded, the loaded guest stays paused until it is durable that its state is used up, and
 * it answers nobody before it has a new identity. What fails before that point leaves the tenant suspended, and it may be resumed again; what
 * fails after it wakes the guest that is there, or boots its disk.
 */
import { once } from "node:events";
import { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import { ownOutcome } from "@lobsterd/chassis/audit.ts";
import { reasonOf, type ServiceError } from "@lobsterd/chassis/errors.ts";
import { release } from "@lobsterd/chassis/release.ts";
import { inSpan, reportStages } from "@lobsterd/chassis/tracing.ts";
import { fail } from "../errors.ts";
import type { SealedHeader } from "../sealing/header.ts";
import { openSet, SealBrokenError } from "../sealing/open-set.ts";
import { type SealedState, sealedObjectId } from "../store/sealed-states.ts";
import type { SleepCause, TenantRecord } from "../store/tenant-record.ts";
import { attachNetwork, together } from "./boot.ts";
import { admitResume } from "./drain.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { describeMachine, refuseOtherMachine } from "./machine-facts.ts";
import { recordSeal, refuseOlderThanAudit } from "./rollback.ts";
import { limited, requirePhase } from "./sleep-calls.ts";
import { settleSuspended } from "./suspend.ts";
import { bootAnew, wakeOrBoot } from "./wake.ts";

export interface ResumeOptions {
  /** `request` by default. */
  readonly cause?: SleepCause;
  /** Destroys the saved memory, unread, and boots the disk. */
  readonly discardsMemory?: boolean;
}

/**
 * Returns the running tenant. Throws TENANT_NOT_FOUND, TENANT_BUSY, TENANT_NOT_SUSPENDED; HOST_POSTURE and HOST_DRAINING as a spawn does; ROLLBACK, STATE_BROKEN or MACHINE_DIFFERS when the sealed
 * state is not to be loaded; RESUME_LIMIT_EXCEEDED and what a part failed with, after which the tenant is suspended; or RESUME_INCOMPLETE and
 * RESUME_FAILED, after which it is not.
 */
export async function resumeTenant(
  life: Lifecycle,
  requestId: string,
  name: string,
  { cause = "request", discardsMemory = false }: ResumeOptions = {},
): Promise<TenantRecord> {
  const known = life.tenants.find(name);
  if (known?.phase === "running" && known.sleepRequestId === requestId) return known;
  const { vmId } = requirePhase(known, name, "suspended");
  await life.posture.admitSpawn();
  return await life.turns.take(vmId, async (evicted) => {
    requirePhase(life.tenants.findByVm(vmId), name, "suspended");
    using _place = await inSpan("boot-queue", {}, () => life.bootQueue.enter(evicted));
    evicted.throwIfAborted();
    admitResume(life.drains);
    const resuming = life.journal.beginResume(requirePhase(life.tenants.findByVm(vmId), name, "suspended"), {
      ...{ requestId, cause },
      servesThroughMs: cause === "schedule" ? life.now() + life.config.wakeLeadMs : 0,
    });
    if (discardsMemory) return await bootWithoutMemory(life, resuming, evicted);
    await loadOrStaySuspended(life, resuming, evicted);
    const removed = removeFiles(life, vmId);
    try {
      return await wakeOrBoot(life, resuming, evicted);
    } finally {
      await removed;
    }
  });
}

/** A state that was not loaded is as used up as one that was: it is durable before anything else has an effect. */
async function bootWithoutMemory(life: Lifecycle, tenant: TenantRecord, evicted: AbortSignal): Promise<TenantRecord> {
  const sealed = life.sealedStates.find(tenant.vmId);
  if (sealed === undefined) throw new Error(`suspended tenant ${tenant.name} has no sealed state`);
  life.journal.consume(tenant, () => recordSeal(life, "ConsumeState", tenant, sealed));
  await life.files.remove(tenant.vmId);
  return await bootAnew(life, tenant, evicted);
}

/** Of a state that is used up, so they are nobody's: the guest does not wait for it, and what stays is swept. */
async function removeFiles({ files, logger }: Lifecycle, vmId: string): Promise<void> {
  try {
    await files.remove(vmId);
  } catch (error) {
    logger.warn({ err: error, vmId }, "the files of a state that is used up are still there");
  }
}

async function loadOrStaySuspended(life: Lifecycle, tenant: TenantRecord, evicted: AbortSignal): Promise<void> {
  const { resumeLimitMs } = life.config;
  const overdue = fail("RESUME_LIMIT_EXCEEDED", `the resume took longer than ${resumeLimitMs} ms`);
  try {
    await loadState(life, tenant, limited(evicted, resumeLimitMs, overdue));
  } catch (error) {
    evicted.throwIfAborted();
    // Used up: whatever failed afterwards, there is nothing to go back to.
    if (life.sealedStates.find(tenant.vmId) === undefined) return;
    life.events.tenantResumeFailed(tenant, error);
    // What fails here is in the log, and the reconciler goes on with it; the caller is told why the tenant was not resumed.
    await settleSuspended(life, tenant, evicted).catch((cause: unknown) =>
      life.logger.warn({ err: cause, vmId: tenant.vmId }, "a tenant is not suspended again yet"),
    );
    throw error;
  }
}

/** Returns with the guest loaded and paused, and its state used up. */
async function loadState(life: Lifecycle, tenant: TenantRecord, signal: AbortSignal): Promise<void> {
  const { journal } = life;
  const { vmId } = tenant;
  const sealed = life.sealedStates.find(vmId);
  if (sealed === undefined) throw new Error(`suspended tenant ${tenant.name} has no sealed state`);
  journal.startSteps(tenant, ["open-state", "join-network"]);
  const judged = Promise.withResolvers<void>();
  const opening = journal.step(tenant, "open-state", () => openState(life, tenant, sealed, judged.resolve, signal));
  opening.catch(judged.reject);
  const joining = journal.step(tenant, "join-network", () => attachNetwork(life, tenant, signal));
  const loading = together([judged.promise, joining]).then(() => {
    signal.throwIfAborted();
    return journal.step(tenant, "load-state", () => loadOpened(life, tenant, sealed, opening));
  });
  await together([opening, loading]);
  signal.throwIfAborted();
  journal.consume(tenant, () => recordSeal(life, "ConsumeState", tenant, sealed));
}

/** Starts the VMM while the state is still being opened. It gets no byte of it before `opening`, and with it the last tag, has passed. */
async function loadOpened(
  life: Lifecycle,
  tenant: TenantRecord,
  sealed: SealedState,
  opening: Promise<void>,
): Promise<void> {
  const { vmId, slot, image, generation, resources } = tenant;
  const { vcpuCount, memoryMib } = resources;
  // The guest has read its drive long ago, and its next identity is made in its memory.
  const start = { vmId, slot, image, vcpuCount, memoryMib, generation, identityDrive: new Uint8Array() };
  const opened = async function* () {
    await opening;
    yield* life.files.readSpool(vmId);
  };
  try {
    const { stagesMs } = await life.parts.vmm.load(start, Readable.from(opened(), { objectMode: false }));
    reportStages(Object.entries(stagesMs).map(([stage, durationMs]) => ({ name: `launcher ${stage}`, durationMs })));
  } catch (cause) {
    // The launcher has seen a later generation than this store knows: the store is a copy of before.
    if (reasonOf(cause) === "STALE_GENERATION")
      throw refused(life, tenant, sealed, fail("ROLLBACK", "a later generation was started already", { cause }));
    throw cause;
  }
}

/**
 * Opens the sealed file into the spool, once its header says that it is this tenant's last state, saved on this machine: `judged` is called then. The
 * spool is a whole and true state once this has resolved.
 */
async function openState(
  life: Lifecycle,
  tenant: TenantRecord,
  sealed: SealedState,
  judged: () => void,
  signal: AbortSignal,
): Promise<void> {
  const machine = await describeMachine(life, tenant);
  const spool = life.files.writeSpool(tenant.vmId, signal);
  // A spool that fails is told by the write that meets it.
  spool.on("error", () => undefined);
  try {
    await refuseOlderThanAudit(life, tenant, sealed, signal);
    await openSet(
      life.files.sealedPath(sealed),
      async (header) => {
        if (!isLast(header, tenant, sealed)) throw fail("ROLLBACK", "the file is not the tenant's last state");
        refuseOtherMachine(header.machine, machine);
        const key = await unwrapDataKey(life, tenant, sealed, signal);
        judged();
        return key;
      },
      async (_part, plain) => {
        signal.throwIfAborted();
        if (!spool.write(plain, () => release(plain))) await once(spool, "drain", { signal });
      },
    );
    spool.end();
    await finished(spool);
  } catch (error) {
    spool.destroy();
    await finished(spool).catch(() => undefined);
    signal.throwIfAborted();
    if (reasonOf(error) === "ROLLBACK") throw refused(life, tenant, sealed, error as ServiceError);
    if (error instanceof SealBrokenError || isAbsence(error))
      throw refused(life, tenant, sealed, fail("STATE_BROKEN", "the sealed state is not whole", { cause: error }));
    throw error;
  }
}

function isLast(header: SealedHeader, { name, vmId }: TenantRecord, sealed: SealedState): boolean {
  const wrappedKey = Buffer.from(sealed.wrappedKey).toString("base64");
  return (
    header.kind === "snapshot" &&
    header.tenant === name &&
    header.vmId === vmId &&
    header.generation === sealed.generation &&
    header.counter === sealed.counter &&
    header.wrappedKey === wrappedKey
  );
}

async function unwrapDataKey(
  life: Lifecycle,
  { name }: TenantRecord,
  sealed: SealedState,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const object = { purpose: "snapshot", objectId: sealedObjectId(sealed) };
  const { plaintextKey } = await life.parts.secrets.unwrapDataKey(
    { tenant: name, ...object, wrappedKey: sealed.wrappedKey },
    { signal },
  );
  return plaintextKey?.value ?? new Uint8Array();
}

/** Somebody changed a file or a database: that is an alarm, and a record that this service cannot take back. */
function refused(life: Lifecycle, tenant: TenantRecord, sealed: SealedState, error: ServiceError): ServiceError {
  const { name, generation } = tenant;
  life.events.sealedStateRefused(tenant, error.reason);
  life.record(
    ownOutcome({
      ...{ action: "LoadState", outcome: "failure", reason: error.reason, tenant: name, generation },
      resource: sealedObjectId(sealed),
    }),
  );
  return error;
}
