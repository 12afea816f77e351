/**
 * The durable journal of operations on tenants. Its rules:
 *
 * 1. A tenant's row, its slot and its operation are one transaction, made before the first side effect.
 * 2. A step is recorded as started, durably, before its side effect; steps that run side by side are recorded together. That a step is done is
 *    not recorded: what is undone is what may have begun.
 * 3. An operation ends in one transaction: a spawn by making the tenant run, a removal by deleting its row and freeing its slot.
 * 4. Which request began an eviction is recorded with it and outlives it, for the last 10,000 evictions: repeated, it means the same microVM.
 * 5. What is unfinished after a crash is removed, never continued: removing needs only the VM id.
 */
import type { DatabaseSync } from "node:sqlite";
import { transaction } from "@lobsterd/chassis/sqlite.ts";
import { inSpan } from "@lobsterd/chassis/tracing.ts";
import type { SlotStore } from "../store/slots.ts";
import type { TenantRecord, TenantStore } from "../store/tenants.ts";

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

const maxEvictionRequests = 10_000;

/** What is being done to a tenant: `spawn` ends in a removal if it fails, `evict` always does. */
export type OperationKind = "spawn" | "evict";

/** An operation that has not ended. */
export interface OpenOperation {
  readonly kind: OperationKind;
  readonly tenant: TenantRecord;
  /** Spawn steps that may have had an effect. */
  readonly startedSteps: ReadonlySet<SpawnStep>;
}

/** Sees every step just after it is recorded as started and just after it is done. May throw to fail the step. */
export type StepObserver = (moment: "started" | "done", step: SpawnStep, tenant: TenantRecord) => Promise<void>;

/** See the header of this file. */
export interface Journal {
  /** Rule 1. `choose` picks id, slot and everything else inside the transaction; what it throws changes nothing. */
  beginSpawn(choose: () => TenantRecord): TenantRecord;
  /** Records that a removal is under way; a spawn that was under way becomes part of it. Safe to repeat. Rule 4. */
  beginEvict(tenant: TenantRecord, requestId: string): void;
  /** The tenant that the eviction of this request was begun for, whether or not it is still there. */
  evictionOf(requestId: string): { readonly name: string; readonly vmId: string } | undefined;
  /** Marks a failed spawn as being unwound. */
  beginUnwind(tenant: TenantRecord): void;
  /** Rule 2 for steps that are about to run side by side, in one commit. */
  startSteps(tenant: TenantRecord, steps: readonly SpawnStep[]): void;
  /** Rule 2, unless it is recorded already: runs one step of a spawn in a span of its name. */
  step<T>(tenant: TenantRecord, step: SpawnStep, run: () => Promise<T>): Promise<T>;
  finishSpawn(tenant: TenantRecord): TenantRecord;
  /** `also` runs in the same transaction. */
  finishRemoval(tenant: TenantRecord, also: () => void): void;
  open(): readonly OpenOperation[];
  find(vmId: string): OpenOperation | undefined;
}

export interface JournalParts {
  readonly database: DatabaseSync;
  readonly tenants: TenantStore;
  readonly slots: SlotStore;
  readonly now: () => number;
  readonly observe?: StepObserver;
}

export function openJournal({ database, tenants, slots, now, observe }: JournalParts): Journal {
  const operations = database.prepare("SELECT vm_id, kind FROM operation ORDER BY start_time_ms");
  const operation = database.prepare("SELECT vm_id, kind FROM operation WHERE vm_id = ?");
  const begin = database.prepare(
    "INSERT INTO operation (vm_id, kind, start_time_ms) VALUES (?, ?, ?) ON CONFLICT (vm_id) DO UPDATE SET kind = excluded.kind",
  );
  const end = database.prepare("DELETE FROM operation WHERE vm_id = ?");
  const steps = database.prepare("SELECT step FROM operation_step WHERE vm_id = ?");
  // One that changes nothing writes nothing, and so does not wait for the disk.
  const record = database.prepare(
    "INSERT INTO operation_step (vm_id, step, start_time_ms) VALUES (?, ?, ?) ON CONFLICT (vm_id, step) DO NOTHING",
  );

  const remember = database.prepare(
    "INSERT INTO eviction_request (request_id, name, vm_id) VALUES (?, ?, ?) ON CONFLICT (request_id) DO NOTHING",
  );
  const forgetOld = database.prepare(
    "DELETE FROM eviction_request WHERE sequence <= (SELECT max(sequence) FROM eviction_request) - ?",
  );
  const requested = database.prepare("SELECT name, vm_id FROM eviction_request WHERE request_id = ?");

  function toOpen(row: Record<string, unknown>): OpenOperation[] {
    const tenant = tenants.findByVm(String(row["vm_id"]));
    if (tenant === undefined) return [];
    const recorded = new Set(steps.all(tenant.vmId).map((step) => String(step["step"])));
    return [
      {
        kind: row["kind"] === "evict" ? "evict" : "spawn",
        tenant,
        startedSteps: new Set(spawnSteps.filter((step) => recorded.has(step))),
      },
    ];
  }

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
        remember.run(requestId, tenant.name, tenant.vmId);
        forgetOld.run(maxEvictionRequests);
      }),
    evictionOf: (requestId) => {
      const row = requested.get(requestId);
      return row === undefined ? undefined : { name: String(row["name"]), vmId: String(row["vm_id"]) };
    },
    beginUnwind: (tenant) => tenants.markEvicting(tenant.vmId),
    startSteps: (tenant, started) =>
      transaction(database, () => {
        for (const step of started) record.run(tenant.vmId, step, now());
      }),
    step: (tenant, step, run) =>
      inSpan(step, { "lobsterd.tenant": tenant.name, "lobsterd.vm_id": tenant.vmId }, async () => {
        record.run(tenant.vmId, step, now());
        await observe?.("started", step, tenant);
        const result = await run();
        await observe?.("done", step, tenant);
        return result;
      }),
    finishSpawn: (tenant) =>
      transaction(database, () => {
        tenants.markRunning(tenant.vmId, now());
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
    open: () => operations.all().flatMap(toOpen),
    find: (vmId) => {
      const row = operation.get(vmId);
      return row === undefined ? undefined : toOpen(row)[0];
    },
  };
}
