/**
 * The durable journal of operations on tenants. Its rules:
 *
 * 1. A tenant's row, its slot and its operation are one transaction, made before the first side effect.
 * 2. A step is recorded as started, durably, before its side effect; steps that run side by side are recorded together. That a step is done is
 *    not recorded: what is undone is what may have begun.
 * 3. An operation ends in one transaction: a spawn by making the tenant run, a removal by deleting its row and freeing its slot.
 * 4. Which request began an eviction is recorded with it and outlives it, for the last 10,000 evictions: repeated, it means the same microVM.
 * 5. What is unfinished of a spawn or an eviction after a crash is removed, never continued: removing needs only the VM id.
 * 6. A suspend or a resume is never removed but brought to an end, and the row of a sealed state alone says to which. With the row the tenant
 *    is its sealed file: the microVM is stopped and never let go on. Without it the tenant is what runs, or its disk: no file is ever loaded. The
 *    row comes once the file is durable and before the microVM is killed; it goes before the loaded guest's first instruction.
 * 7. Each attempt to load or to boot has a generation that no attempt had before, recorded before it begins.
 * 8. A backup's operation ends with its guest let go on. A restore in a tenant's place goes back until it becomes a replacement, in the transaction in which
 *    the tenant's memory is given up, and goes on from there: a memory never meets a disk that is not its own.
 */
import type { DatabaseSync } from "node:sqlite";
import { transaction } from "@lobsterd/chassis/sqlite.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import { z } from "zod";
import type { SealedState, SealedStateStore } from "../store/sealed-states.ts";
import type { SlotStore } from "../store/slots.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { ResumeRequest, SuspendRequest, TenantStore } from "../store/tenants.ts";

/** Steps of a spawn, in the order of their undoing read backwards. */
export const spawnSteps = [
  "issue-identity",
  "prepare-jail",
  "attach-network",
  "boot-guest",
  "inject-secrets",
  "await-workload",
  "publish-route",
] as const;
export type SpawnStep = (typeof spawnSteps)[number];

/** Steps of a suspend in their order; the sealed state's row is written between `seal-state` and `stop-microvm`. */
export const suspendSteps = ["sleep-route", "quiesce-guest", "seal-state", "stop-microvm", "detach-network"] as const;
export type SuspendStep = (typeof suspendSteps)[number];

/** Steps of a resume in their order; the sealed state's row goes between `load-state` and `run-guest`. */
export const resumeSteps = [
  "open-state",
  "join-network",
  "load-state",
  "run-guest",
  "renew-identity",
  "return-secrets",
  "wake-workload",
  "return-route",
] as const;
export type ResumeStep = (typeof resumeSteps)[number];

/** Steps of a backup in their order; until `release-guest` they are an operation of the tenant, and then the tenant is left alone. */
export const backupSteps = [
  "quiesce-disk",
  "pause-guest",
  "copy-disk",
  "release-guest",
  "seal-disk",
  "list-backup",
] as const;
export type BackupStep = (typeof backupSteps)[number];

/** Steps of a restore in the place of a tenant, in their order; its memory is given up between the two. */
export const restoreSteps = ["write-disk", "replace-disk"] as const;
export type RestoreStep = (typeof restoreSteps)[number];
export type Step = SpawnStep | SuspendStep | ResumeStep | BackupStep | RestoreStep;

const maxEvictionRequests = 10_000;

const kindSchema = z.enum(["spawn", "evict", "suspend", "resume", "backup", "restore", "replace"]);

/** What is being done to a tenant: `spawn` ends in a removal if it fails, `evict` always does; the others by rules 6 and 8. */
export type OperationKind = z.infer<typeof kindSchema>;

/** An operation that has not ended. */
export interface OpenOperation {
  readonly kind: OperationKind;
  readonly tenant: TenantRecord;
  readonly startTimeMs: number;
  /** Spawn steps that may have had an effect. */
  readonly startedSteps: ReadonlySet<SpawnStep>;
}

/** Sees every step just after it is recorded as started and just after it is done. May throw to fail the step. */
export type StepObserver = (moment: "started" | "done", step: Step, tenant: TenantRecord) => Promise<void>;

/** See the header of this file. */
export interface Journal {
  /** Rule 1. `choose` picks id, slot and everything else inside the transaction; what it throws changes nothing. */
  beginSpawn(choose: () => TenantRecord): TenantRecord;
  /** Records that a removal is under way; a spawn that was under way becomes part of it. Safe to repeat. Rule 4. */
  beginEvict(tenant: TenantRecord, requestId: string): void;
  /** The tenant that the eviction of this request was begun for, whether or not it is still there. */
  evictionOf(requestId: string): { readonly name: string; readonly vmId: string } | undefined;
  /** Whether that request began an eviction of a tenant of this name that `owner`, who is somebody, owned. */
  wasEvictedBy(requestId: string, name: string, owner: string): boolean;
  /** Marks a failed spawn as being unwound. */
  beginUnwind(tenant: TenantRecord): void;
  /** Rule 2 for steps that are about to run side by side, in one commit. */
  startSteps(tenant: TenantRecord, steps: readonly Step[]): void;
  /** Rule 2, unless it is recorded already: runs one step in a span of its name. */
  step<T>(tenant: TenantRecord, step: Step, run: () => Promise<T>): Promise<T>;
  finishSpawn(tenant: TenantRecord): TenantRecord;
  /** `also` runs in the same transaction. */
  finishRemoval(tenant: TenantRecord, also: () => void): void;
  /** Records what `choose` returns, in the transaction that it decides in; what it throws changes nothing. */
  recordUpdate(choose: () => TenantRecord): void;
  beginSuspend(tenant: TenantRecord, request: SuspendRequest): TenantRecord;
  /** Rule 6: from here on the tenant is this file, to be woken then if it has anything scheduled. `also` runs in the same transaction. */
  seal(sealed: SealedState, wakeTimeMs: number | undefined, also: () => void): void;
  /** Ends a suspend, or a resume that is to be begun again, with the tenant suspended. */
  endSuspended(tenant: TenantRecord): TenantRecord;
  beginResume(tenant: TenantRecord, request: ResumeRequest): TenantRecord;
  /** Rule 6: from here on the sealed file is used up. `also` runs in the same transaction. */
  consume(tenant: TenantRecord, also: () => void): void;
  /** Rule 7 for a guest that is woken where it is, or booted: turns what is under way into a resume without a sealed state. */
  beginWake(tenant: TenantRecord): TenantRecord;
  endResumed(tenant: TenantRecord): TenantRecord;
  /** Rule 8: the guest of a running tenant may stand still from here on. */
  beginBackup(tenant: TenantRecord): void;
  /** Does nothing when an eviction has begun meanwhile. */
  endBackup(tenant: TenantRecord): void;
  beginRestore(tenant: TenantRecord, requestId: string): TenantRecord;
  /** Rule 8: from here on the tenant is the disk that was written for it. `also` runs in the same transaction. */
  beginReplace(tenant: TenantRecord, also: () => void): void;
  /** A step that nothing has to be undone of: it is not recorded, and otherwise as `step`. */
  watch<T>(tenant: TenantRecord, step: Step, run: () => Promise<T>): Promise<T>;
  /** Ends a resume whose guest cannot be brought up. */
  endFailed(tenant: TenantRecord, reason: string): void;
  /** Ends a boot that failed and will be tried again, with the tenant what it was before. */
  endUnrepaired(before: TenantRecord): void;
  open(): readonly OpenOperation[];
  find(vmId: string): OpenOperation | undefined;
}

export interface JournalParts {
  readonly database: DatabaseSync;
  readonly tenants: TenantStore;
  readonly slots: SlotStore;
  readonly sealedStates: SealedStateStore;
  readonly now: () => number;
  readonly observe?: StepObserver;
}

export function openJournal({ database, tenants, slots, sealedStates, now, observe }: JournalParts): Journal {
  const operations = database.prepare("SELECT vm_id, kind, start_time_ms FROM operation ORDER BY start_time_ms");
  const operation = database.prepare("SELECT vm_id, kind, start_time_ms FROM operation WHERE vm_id = ?");
  const begin = database.prepare(
    "INSERT INTO operation (vm_id, kind, start_time_ms) VALUES (?, ?, ?) ON CONFLICT (vm_id) DO UPDATE SET kind = excluded.kind",
  );
  const end = database.prepare("DELETE FROM operation WHERE vm_id = ?");
  const endOf = database.prepare("DELETE FROM operation WHERE vm_id = ? AND kind = ?");
  const steps = database.prepare("SELECT step FROM operation_step WHERE vm_id = ?");
  // One that changes nothing writes nothing, and so does not wait for the disk.
  const record = database.prepare(
    "INSERT INTO operation_step (vm_id, step, start_time_ms) VALUES (?, ?, ?) ON CONFLICT (vm_id, step) DO NOTHING",
  );

  const remember = database.prepare(
    "INSERT INTO eviction_request (request_id, name, vm_id, owner) VALUES (?, ?, ?, ?) ON CONFLICT (request_id) DO NOTHING",
  );
  const forgetOld = database.prepare(
    "DELETE FROM eviction_request WHERE sequence <= (SELECT max(sequence) FROM eviction_request) - ?",
  );
  const owned = database.prepare(
    "SELECT 1 FROM eviction_request WHERE request_id = ? AND name = ? AND owner = ? AND owner <> ''",
  );
  const requested = database.prepare("SELECT name, vm_id FROM eviction_request WHERE request_id = ?");

  function toOpen(row: Record<string, unknown>): OpenOperation[] {
    const tenant = tenants.findByVm(String(row["vm_id"]));
    if (tenant === undefined) return [];
    const recorded = new Set(steps.all(tenant.vmId).map((step) => String(step["step"])));
    return [
      {
        kind: kindSchema.parse(row["kind"]),
        tenant,
        startTimeMs: Number(row["start_time_ms"]),
        startedSteps: new Set(spawnSteps.filter((step) => recorded.has(step))),
      },
    ];
  }

  const watch = <T>(tenant: TenantRecord, step: Step, run: () => Promise<T>, before: () => void = () => undefined) =>
    inSpan(step, { "lobsterd.tenant": tenant.name, "lobsterd.vm_id": tenant.vmId }, async () => {
      before();
      await observe?.("started", step, tenant);
      const result = await run();
      await observe?.("done", step, tenant);
      return result;
    });

  /** Rule 6. */
  const requireNoSealedState = (vmId: string) => {
    if (sealedStates.find(vmId) !== undefined) throw new Error(`microVM ${vmId} is its sealed state and must not run`);
  };

  return {
    beginSpawn: (choose) =>
      transaction(database, () => {
        const tenant = choose();
        tenants.insert(tenant);
        begin.run(tenant.vmId, "spawn", now());
        return tenant;
      }),
    beginEvict: (tenant, requestId) =>
      transaction(database, () => {
        tenants.markEvicting(tenant.vmId);
        begin.run(tenant.vmId, "evict", now());
        remember.run(requestId, tenant.name, tenant.vmId, tenant.owner);
        forgetOld.run(maxEvictionRequests);
      }),
    evictionOf: (requestId) => {
      const row = requested.get(requestId);
      return row === undefined ? undefined : { name: String(row["name"]), vmId: String(row["vm_id"]) };
    },
    wasEvictedBy: (requestId, name, owner) => owned.get(requestId, name, owner) !== undefined,
    beginUnwind: (tenant) => tenants.markEvicting(tenant.vmId),
    startSteps: (tenant, started) =>
      transaction(database, () => {
        for (const step of started) record.run(tenant.vmId, step, now());
      }),
    step: (tenant, step, run) => watch(tenant, step, run, () => void record.run(tenant.vmId, step, now())),
    watch: (tenant, step, run) => watch(tenant, step, run),
    finishSpawn: (tenant) =>
      transaction(database, () => {
        tenants.markRunning(tenant.vmId, now(), now());
        end.run(tenant.vmId);
        return tenants.findByVm(tenant.vmId) ?? tenant;
      }),
    finishRemoval: (tenant, also) =>
      transaction(database, () => {
        also();
        end.run(tenant.vmId);
        tenants.remove(tenant.vmId);
        slots.release(tenant.slot, now());
      }),
    recordUpdate: (choose) => transaction(database, () => tenants.recordUpdate(choose())),
    beginSuspend: (tenant, request) =>
      transaction(database, () => {
        requireNoSealedState(tenant.vmId);
        begin.run(tenant.vmId, "suspend", now());
        return tenants.markSuspending(tenant.vmId, request);
      }),
    seal: (sealed, wakeTimeMs, also) =>
      transaction(database, () => {
        also();
        tenants.setWakeTime(sealed.vmId, wakeTimeMs);
        sealedStates.insert(sealed);
      }),
    endSuspended: ({ vmId }) =>
      transaction(database, () => {
        end.run(vmId);
        return tenants.markSuspended(vmId);
      }),
    beginResume: (tenant, request) =>
      transaction(database, () => {
        begin.run(tenant.vmId, "resume", now());
        return tenants.markResuming(tenant.vmId, request);
      }),
    consume: ({ vmId }, also) =>
      transaction(database, () => {
        also();
        sealedStates.delete(vmId);
      }),
    beginWake: ({ vmId }) =>
      transaction(database, () => {
        requireNoSealedState(vmId);
        begin.run(vmId, "resume", now());
        return tenants.markResuming(vmId);
      }),
    endResumed: (tenant) =>
      transaction(database, () => {
        tenants.markRunning(tenant.vmId, tenant.readyTimeMs ?? now(), now());
        end.run(tenant.vmId);
        return tenants.findByVm(tenant.vmId) ?? tenant;
      }),
    beginBackup: ({ vmId }) => void begin.run(vmId, "backup", now()),
    endBackup: ({ vmId }) => void endOf.run(vmId, "backup"),
    beginRestore: (tenant, requestId) =>
      transaction(database, () => {
        begin.run(tenant.vmId, "restore", now());
        return tenants.markResuming(tenant.vmId, { requestId, cause: "request", servesThroughMs: 0 });
      }),
    beginReplace: ({ vmId }, also) =>
      transaction(database, () => {
        also();
        sealedStates.delete(vmId);
        end.run(vmId); // what is waited for from here on is waited for from now
        begin.run(vmId, "replace", now());
      }),
    endFailed: ({ vmId }, reason) =>
      transaction(database, () => {
        tenants.markFailed(vmId, reason);
        end.run(vmId);
      }),
    endUnrepaired: (before) =>
      transaction(database, () => {
        tenants.restorePhase(before.vmId, before);
        end.run(before.vmId);
      }),
    open: () => operations.all().flatMap(toOpen),
    find: (vmId) => {
      const row = operation.get(vmId);
      return row === undefined ? undefined : toOpen(row)[0];
    },
  };
}
