/**
 * Suspends a tenant: guest quiesced, memory sealed as it leaves the VMM, durable, and only then killed. The order of journal rule 6: what fails
 * before the sealed state's row leaves the tenant running, what fails after it leaves it suspended.
 */
import { randomUUID } from "node:crypto";
import { addAbortSignal, PassThrough, type Readable } from "node:stream";
import { release } from "@lobsterd/chassis/release.ts";
import { fail } from "../errors.ts";
import { nextWake } from "../schedules/runs.ts";
import { type SealOrder, sealSet } from "../sealing/seal-set.ts";
import { sealedObjectId } from "../store/sealed-states.ts";
import type { SleepCause, TenantRecord } from "../store/tenant-record.ts";
import type { VmmPort } from "../vmm/port.ts";
import { together } from "./boot.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { describeMachine } from "./machine-facts.ts";
import { recordSeal } from "./rollback.ts";
import { limited, requirePhase } from "./sleep-calls.ts";
import { putRouteToSleep } from "./tenant-route.ts";
import { wakeOrBoot } from "./wake.ts";

/** One part of a sealed set: memory and devices as the VMM wrote them. The disk stays where it is. */
const statePart = "state";
/** So many may wait to be sealed; the longest are 1 MiB, and those of QEMU 64 KiB. */
const piecesAhead = 16;

/** Why a tenant is suspended. `admit` throws if it is not to be any more; what it looks at cannot change before the suspend is on record. */
export interface SuspendReason {
  readonly cause: SleepCause;
  admit(): void;
}

const asked: SuspendReason = { cause: "request", admit: () => undefined };

/**
 * Returns the suspended tenant. Throws TENANT_NOT_FOUND, TENANT_BUSY, TENANT_NOT_RUNNING, SUSPEND_REFUSED by the workload, SUSPEND_LIMIT_EXCEEDED,
 * what a part failed with, or SUSPEND_INCOMPLETE when the state is sealed and the microVM is not gone yet; SUSPEND_FORBIDDEN by the tenant's policy, and
 * what `by.admit` throws, before anything is done to the guest.
 */
export async function suspendTenant(
  life: Lifecycle,
  requestId: string,
  name: string,
  by: SuspendReason = asked,
): Promise<TenantRecord> {
  const known = life.tenants.find(name);
  if (known?.phase === "suspended" && known.sleepRequestId === requestId) return known;
  const { vmId, idlePolicy } = requirePhase(known, name, "running");
  if (idlePolicy.mode === "never")
    throw fail("SUSPEND_FORBIDDEN", `tenant ${name} is never suspended`, { metadata: { tenant: name } });
  return await life.turns.take(vmId, async (evicted) => {
    const running = requirePhase(life.tenants.findByVm(vmId), name, "running");
    const dataKey = await createDataKey(life, running, evicted);
    try {
      evicted.throwIfAborted();
      by.admit();
      const suspending = life.journal.beginSuspend(running, { requestId, cause: by.cause });
      await sealOrStayAwake(life, suspending, dataKey, evicted);
      return await settleSuspended(life, suspending, evicted);
    } finally {
      dataKey.plaintext.fill(0);
    }
  });
}

interface DataKey {
  readonly plaintext: Uint8Array;
  readonly wrapped: Uint8Array;
  readonly keyId: string;
}

/** Asked for before anything is done to the guest: it needs audit and the root key, and without them nothing has changed. */
async function createDataKey(
  life: Lifecycle,
  { name, vmId, sealCounter }: TenantRecord,
  signal: AbortSignal,
): Promise<DataKey> {
  const object = { purpose: "snapshot", objectId: sealedObjectId({ vmId, counter: sealCounter + 1 }) };
  const made = await life.parts.secrets.createDataKey({ requestId: randomUUID(), tenant: name, ...object }, { signal });
  return { plaintext: made.plaintextKey?.value ?? new Uint8Array(), wrapped: made.wrappedKey, keyId: made.keyId };
}

async function sealOrStayAwake(
  life: Lifecycle,
  tenant: TenantRecord,
  dataKey: DataKey,
  evicted: AbortSignal,
): Promise<void> {
  const overdue = fail("SUSPEND_LIMIT_EXCEEDED", `the suspend took longer than ${life.config.suspendLimitMs} ms`);
  try {
    await sealMemory(life, tenant, dataKey, limited(evicted, life.config.suspendLimitMs, overdue));
  } catch (error) {
    evicted.throwIfAborted();
    // A commit that failed to answer may have been made: the row decides.
    if (life.sealedStates.find(tenant.vmId)?.counter === tenant.sealCounter) return;
    life.events.tenantSuspendFailed(tenant, error);
    await life.files.remove(tenant.vmId);
    evicted.throwIfAborted();
    // What fails here is in the log, and the reconciler goes on with it; the caller is told why the tenant was not suspended.
    await wakeOrBoot(life, life.journal.beginWake(tenant), evicted).catch((cause: unknown) =>
      life.logger.warn({ err: cause, vmId: tenant.vmId }, "a tenant is not awake yet"),
    );
    throw error;
  }
}

async function sealMemory(
  life: Lifecycle,
  tenant: TenantRecord,
  { plaintext, wrapped, keyId }: DataKey,
  signal: AbortSignal,
): Promise<void> {
  const { journal, parts, files } = life;
  const { name, vmId, generation, sealCounter: counter } = tenant;
  const machine = await describeMachine(life, tenant);
  await journal.step(tenant, "sleep-route", () => putRouteToSleep(parts, tenant, { signal }));
  // As it is once the workload has agreed: what it schedules before that is not missed.
  const runs = await journal.step(tenant, "quiesce-guest", () => parts.guests.prepareSuspend(tenant, signal));
  const path = files.sealedPath({ vmId, counter });
  const header: SealOrder["header"] = {
    ...{ format: 1, kind: "snapshot", tenant: name, vmId, generation, counter, createTimeMs: life.now(), machine },
    ...{ keyId, wrappedKey: Buffer.from(wrapped).toString("base64") },
  };
  await journal.step(tenant, "seal-state", () =>
    saveSealed(parts.vmm, vmId, { path, header, dataKey: plaintext }, signal),
  );
  signal.throwIfAborted();
  const sealed = { vmId, counter, generation, wrappedKey: wrapped };
  const wakeTimeMs = nextWake(runs, { ...tenant, nowMs: life.now(), leadMs: life.config.wakeLeadMs });
  journal.seal(sealed, wakeTimeMs, () => recordSeal(life, "SealState", tenant, sealed));
}

/** Seals the memory of a guest as the VMM writes it: nothing of it is kept as plain text. Throws what failed, when both sides have ended. */
async function saveSealed(
  vmm: VmmPort,
  vmId: string,
  order: Pick<SealOrder, "path" | "header" | "dataKey">,
  signal: AbortSignal,
): Promise<void> {
  // In pieces, of which a stream of bytes would join those that wait.
  const state = addAbortSignal(signal, new PassThrough({ objectMode: true, highWaterMark: piecesAhead }));
  // How long it is shows at its end.
  const part = { name: statePart, read: () => takenFrom(state) };
  const saving = vmm.save(vmId, state);
  const sealing = sealSet({ ...order, parts: [part], compression: "zeros" });
  // What ends one of them ends the other: a sealing that fails is what the save then fails with.
  state.on("error", () => undefined);
  for (const side of [saving, sealing]) side.catch((error: Error) => state.destroy(error));
  await together([saving, sealing]).catch((error: unknown) => {
    signal.throwIfAborted(); // what ended both says why
    throw error;
  });
}

/** A stream's pieces, whose memory is given back when the next one is asked for. Whoever leaves has to end the stream. */
async function* takenFrom(state: Readable): AsyncGenerator<Buffer> {
  for await (const piece of state.iterator({ destroyOnReturn: false })) {
    yield piece;
    release(piece);
  }
}

/**
 * Makes sure that nothing of a tenant is there but its sealed file and its disk, and ends what was under way. Safe to repeat, after a suspend and after a
 * resume that used nothing up. Throws SUSPEND_INCOMPLETE; the reconciler goes on.
 */
export async function settleSuspended(
  life: Lifecycle,
  tenant: TenantRecord,
  evicted: AbortSignal,
): Promise<TenantRecord> {
  const { journal, parts, files } = life;
  const { vmId } = tenant;
  try {
    parts.guests.forget(vmId);
    // Of a guest that stands still for good: neither has to wait for the other.
    await together([
      journal.step(tenant, "stop-microvm", () => parts.vmm.stop(vmId)),
      files.dropSpool(vmId),
      journal.step(tenant, "detach-network", () => parts.net.detachNetwork({ requestId: randomUUID(), vmId })),
    ]);
  } catch (cause) {
    evicted.throwIfAborted();
    const message = `the memory of tenant ${tenant.name} is sealed; the end of its microVM goes on`;
    throw fail("SUSPEND_INCOMPLETE", message, { metadata: { tenant: tenant.name }, cause });
  }
  evicted.throwIfAborted();
  const suspended = journal.endSuspended(tenant);
  life.events.tenantSuspended(suspended);
  return suspended;
}
