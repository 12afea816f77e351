import type { DatabaseSync, SQLOutputValue } from "node:sqlite";
import type { Egress } from "../network-policy.ts";
import type { BootOrigin, Resources, SleepCause, TenantRecord } from "./tenant-record.ts";
import { toRecord } from "./tenant-row.ts";

/** What begins a suspend. */
export interface SuspendRequest {
  readonly requestId: string;
  readonly cause: SleepCause;
}

/** What begins a resume, and until when it serves what is scheduled; 0: it serves nothing. */
export interface ResumeRequest {
  readonly requestId: string;
  readonly cause: SleepCause;
  readonly servesThroughMs: number;
}

/** The tenants of this host. Each write is durable on return. */
export interface TenantStore {
  find(name: string): TenantRecord | undefined;
  findByVm(vmId: string): TenantRecord | undefined;
  /** The tenant that has an extra host name, in whatever phase it is. */
  findByExtraHostName(hostName: string): TenantRecord | undefined;
  /** Whether there is a tenant of this name and `owner`, who is somebody, owns it. */
  isOwned(name: string, owner: string): boolean;
  /** In the order of names, after `afterName`; of one owner if it is given. */
  page(afterName: string, limit: number, owner?: string): readonly TenantRecord[];
  all(): readonly TenantRecord[];
  /** What each tenant was promised, in no order, but for the one of `exceptVmId`. */
  resources(exceptVmId?: string): readonly Resources[];
  count(): number;
  countByState(): readonly { readonly state: string; readonly count: number }[];
  /** Suspended tenants whose time to be resumed has come, the longest due first. */
  dueWakes(nowMs: number): readonly TenantRecord[];
  insert(tenant: TenantRecord): void;
  setGuestAddress(vmId: string, guestAddress: string): void;
  /** Once for each tenant, before it has a disk. */
  setDiskKey(vmId: string, wrapped: Uint8Array): void;
  setBootOrigin(vmId: string, origin: BootOrigin): void;
  /** Records a new policy and keeps the one that it replaces, or the one that an unended change replaced. Returns the tenant. */
  beginEgressChange(vmId: string, egress: Egress): TenantRecord;
  /** Ends a change; returns the tenant under its new policy, or `undefined` if it is gone. */
  confirmEgress(vmId: string): TenantRecord | undefined;
  /** Ends a change by putting back what was replaced; nothing, if no change is under way. */
  restoreEgress(vmId: string): void;
  /** Records labels, limits and next resources as they are in `tenant`. */
  recordUpdate(tenant: TenantRecord): void;
  confirmLimits(vmId: string): void;
  /** The guest is about to be booted: its next resources, if it has any, are its resources from now on. Returns the tenant. */
  takeNextResources(vmId: string): TenantRecord;
  /** From `runTimeMs` on; nothing is to wake it any more. */
  markRunning(vmId: string, readyTimeMs: number, runTimeMs: number): void;
  markEvicting(vmId: string): void;
  markFailed(vmId: string, reason: string): void;
  /** Puts back what an attempt to bring the tenant up began with. */
  restorePhase(vmId: string, before: Pick<TenantRecord, "phase" | "failureReason">): void;
  /** Counts the sealed state that is about to be made. */
  markSuspending(vmId: string, request: SuspendRequest): TenantRecord;
  setWakeTime(vmId: string, wakeTimeMs: number | undefined): void;
  markSuspended(vmId: string): TenantRecord;
  /** Counts a sealed set that is not the tenant's memory. */
  countSeal(vmId: string): TenantRecord;
  /** Gives out the next generation, whether or not anything will ever run under it. Without a request what is known of the one before stays. */
  markResuming(vmId: string, request?: ResumeRequest): TenantRecord;
  /** The guest has taken the generation that was given out last. */
  settleGeneration(vmId: string): void;
  remove(vmId: string): void;
}

export function openTenantStore(database: DatabaseSync): TenantStore {
  const byName = database.prepare("SELECT * FROM tenant WHERE name = ?");
  const byVm = database.prepare("SELECT * FROM tenant WHERE vm_id = ?");
  const byHostName = database.prepare(
    "SELECT tenant.* FROM tenant, json_each(tenant.extra_host_names) AS host WHERE host.value = ?",
  );
  const after = database.prepare("SELECT * FROM tenant WHERE name > ? ORDER BY name LIMIT ?");
  const afterOf = database.prepare("SELECT * FROM tenant WHERE owner = ? AND name > ? ORDER BY name LIMIT ?");
  const owned = database.prepare("SELECT 1 FROM tenant WHERE owner = ? AND name = ? AND owner <> ''");
  const every = database.prepare("SELECT * FROM tenant ORDER BY name");
  const due = database.prepare(
    "SELECT * FROM tenant WHERE wake_time_ms <= ? AND state = 'suspended' ORDER BY wake_time_ms",
  );
  const promised = database.prepare(
    `SELECT max(vcpu_count, coalesce(next_vcpu_count, 0)) AS vcpu_count, max(memory_mib, coalesce(next_memory_mib, 0)) AS memory_mib, disk_mib
     FROM tenant WHERE vm_id <> ?`,
  );
  const counted = database.prepare("SELECT count(*) AS tenants FROM tenant");
  const states = database.prepare("SELECT state, count(*) AS tenants FROM tenant GROUP BY state");
  const add = database.prepare(
    `INSERT INTO tenant (name, vm_id, request_id, state, slot, generation, image, vcpu_count, memory_mib, disk_mib, labels,
       egress, network_limits, extra_host_names, create_time_ms, settled_generation, idle_policy, owner)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const address = database.prepare("UPDATE tenant SET guest_address = ? WHERE vm_id = ?");
  const diskKey = database.prepare(
    "UPDATE tenant SET wrapped_disk_key = ? WHERE vm_id = ? AND wrapped_disk_key IS NULL RETURNING *",
  );
  const origin = database.prepare("UPDATE tenant SET boot_origin = ? WHERE vm_id = ?");
  const changeEgress = database.prepare(
    "UPDATE tenant SET replaced_egress = coalesce(replaced_egress, egress), egress = ? WHERE vm_id = ? RETURNING *",
  );
  const confirm = database.prepare("UPDATE tenant SET replaced_egress = NULL WHERE vm_id = ? RETURNING *");
  const restore = database.prepare(
    "UPDATE tenant SET egress = replaced_egress, replaced_egress = NULL WHERE vm_id = ? AND replaced_egress IS NOT NULL",
  );
  const update = database.prepare(
    "UPDATE tenant SET labels = ?, network_limits = ?, limits_pending = ?, next_vcpu_count = ?, next_memory_mib = ? WHERE vm_id = ?",
  );
  const limitsTaken = database.prepare("UPDATE tenant SET limits_pending = 0 WHERE vm_id = ?");
  const takeNext = database.prepare(
    `UPDATE tenant SET vcpu_count = coalesce(next_vcpu_count, vcpu_count), memory_mib = coalesce(next_memory_mib, memory_mib),
       next_vcpu_count = NULL, next_memory_mib = NULL WHERE vm_id = ? RETURNING *`,
  );
  const running = database.prepare(
    `UPDATE tenant SET state = 'running', failure_reason = '', ready_time_ms = ?, run_time_ms = ?, wake_time_ms = NULL,
       settled_generation = generation WHERE vm_id = ?`,
  );
  const evicting = database.prepare("UPDATE tenant SET state = 'evicting' WHERE vm_id = ?");
  const failed = database.prepare("UPDATE tenant SET state = 'failed', failure_reason = ? WHERE vm_id = ?");
  const phase = database.prepare("UPDATE tenant SET state = ?, failure_reason = ? WHERE vm_id = ?");
  const suspending = database.prepare(
    `UPDATE tenant SET state = 'suspending', seal_counter = seal_counter + 1, sleep_request_id = ?, sleep_cause = ?
     WHERE vm_id = ? RETURNING *`,
  );
  const wakeTime = database.prepare("UPDATE tenant SET wake_time_ms = ? WHERE vm_id = ?");
  const count = database.prepare("UPDATE tenant SET seal_counter = seal_counter + 1 WHERE vm_id = ? RETURNING *");
  const suspended = database.prepare("UPDATE tenant SET state = 'suspended' WHERE vm_id = ? RETURNING *");
  // The last wake's word counts, not the latest time: the clock may have been ahead at an earlier one.
  const resuming = database.prepare(
    `UPDATE tenant SET state = 'resuming', generation = generation + 1, sleep_request_id = coalesce(?, sleep_request_id),
       sleep_cause = coalesce(?, sleep_cause), served_through_ms = coalesce(nullif(?, 0), served_through_ms)
     WHERE vm_id = ? RETURNING *`,
  );
  const settle = database.prepare("UPDATE tenant SET settled_generation = generation WHERE vm_id = ?");
  const drop = database.prepare("DELETE FROM tenant WHERE vm_id = ?");
  const one = (row: Record<string, SQLOutputValue> | undefined) => (row === undefined ? undefined : toRecord(row));
  const updated = (row: Record<string, SQLOutputValue> | undefined) => {
    if (row === undefined) throw new Error("the tenant is gone");
    return toRecord(row);
  };
  return {
    find: (name) => one(byName.get(name)),
    findByVm: (vmId) => one(byVm.get(vmId)),
    findByExtraHostName: (hostName) => one(byHostName.get(hostName)),
    isOwned: (name, owner) => owned.get(owner, name) !== undefined,
    page: (afterName, limit, owner) =>
      (owner === undefined ? after.all(afterName, limit) : afterOf.all(owner, afterName, limit)).map(toRecord),
    all: () => every.all().map(toRecord),
    resources: (exceptVmId = "") =>
      promised.all(exceptVmId).map((row) => ({
        vcpuCount: Number(row["vcpu_count"]),
        memoryMib: Number(row["memory_mib"]),
        diskMib: Number(row["disk_mib"]),
      })),
    dueWakes: (nowMs) => due.all(nowMs).map(toRecord),
    count: () => Number(counted.get()?.["tenants"] ?? 0),
    countByState: () => states.all().map((row) => ({ state: String(row["state"]), count: Number(row["tenants"]) })),
    insert: (tenant) => {
      const { vcpuCount, memoryMib, diskMib } = tenant.resources;
      add.run(
        tenant.name,
        tenant.vmId,
        tenant.requestId,
        tenant.phase,
        tenant.slot,
        tenant.generation,
        tenant.image,
        vcpuCount,
        memoryMib,
        diskMib,
        JSON.stringify(tenant.labels),
        JSON.stringify(tenant.egress),
        JSON.stringify(tenant.networkLimits),
        JSON.stringify(tenant.extraHostNames),
        tenant.createTimeMs,
        tenant.settledGeneration,
        JSON.stringify(tenant.idlePolicy),
        tenant.owner,
      );
    },
    setGuestAddress: (vmId, guestAddress) => void address.run(guestAddress, vmId),
    setDiskKey: (vmId, wrapped) => void updated(diskKey.get(wrapped, vmId)),
    setBootOrigin: (vmId, bootOrigin) => void origin.run(bootOrigin, vmId),
    beginEgressChange: (vmId, egress) => {
      const tenant = one(changeEgress.get(JSON.stringify(egress), vmId));
      if (tenant === undefined) throw new Error(`there is no tenant with VM ${vmId}`);
      return tenant;
    },
    confirmEgress: (vmId) => one(confirm.get(vmId)),
    restoreEgress: (vmId) => void restore.run(vmId),
    recordUpdate: ({ vmId, labels, networkLimits, areLimitsPending, nextResources }) =>
      void update.run(
        JSON.stringify(labels),
        JSON.stringify(networkLimits),
        areLimitsPending ? 1 : 0,
        nextResources?.vcpuCount ?? null,
        nextResources?.memoryMib ?? null,
        vmId,
      ),
    confirmLimits: (vmId) => void limitsTaken.run(vmId),
    takeNextResources: (vmId) => updated(takeNext.get(vmId)),
    markRunning: (vmId, readyTimeMs, runTimeMs) => void running.run(readyTimeMs, runTimeMs, vmId),
    markEvicting: (vmId) => void evicting.run(vmId),
    markFailed: (vmId, reason) => void failed.run(reason, vmId),
    restorePhase: (vmId, before) => void phase.run(before.phase, before.failureReason, vmId),
    markSuspending: (vmId, { requestId, cause }) => updated(suspending.get(requestId, cause, vmId)),
    setWakeTime: (vmId, wakeTimeMs) => void wakeTime.run(wakeTimeMs ?? null, vmId),
    countSeal: (vmId) => updated(count.get(vmId)),
    markSuspended: (vmId) => updated(suspended.get(vmId)),
    markResuming: (vmId, request) =>
      updated(resuming.get(request?.requestId ?? null, request?.cause ?? null, request?.servesThroughMs ?? 0, vmId)),
    settleGeneration: (vmId) => void settle.run(vmId),
    remove: (vmId) => void drop.run(vmId),
  };
}
