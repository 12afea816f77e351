import { requestIdReused } from "@lobsterd/chassis/idempotency.ts";
import { backupTurn } from "../backups/parts.ts";
import { fail, tenantNotFound } from "../errors.ts";
import type { Egress } from "../network-policy.ts";
import { type RepairReport, repairTenant } from "../repair/repair.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import { updateEgress } from "./egress.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { SpawnWish } from "./plan.ts";
import { reconcile } from "./reconcile.ts";
import { type ResumeOptions, resumeTenant } from "./resume.ts";
import { type DiskFill, spawnTenant } from "./spawn.ts";
import { type SuspendReason, suspendTenant } from "./suspend.ts";
import { type TenantUpdate, updateTenant } from "./update.ts";

/** What can be done to tenants. Each operation runs to its end whether or not its caller waits. */
export interface TenantOperations {
  /** Resolves with the running tenant, whose disk is what `fill` wrote if there is one. A tenant that this very request made before a crash of `vm` is that answer again. */
  spawn(wish: SpawnWish, fill?: DiskFill): Promise<TenantRecord>;
  /** Changes what a tenant may reach; see `egress.ts`. */
  updateEgress(name: string, egress: Egress): Promise<TenantRecord>;
  /** Changes what is named of a tenant; see `update.ts`. */
  update(name: string, update: TenantUpdate): Promise<TenantRecord>;
  /**
   * Resolves when nothing is left. Cancels a spawn or an update that is under way. A request that is repeated means the tenant that it first met:
   * if that one is gone by now it resolves, whoever has the name since. Throws TENANT_NOT_FOUND, EVICTION_INCOMPLETE.
   */
  evict(requestId: string, name: string): Promise<void>;
  /** Resolves with the suspended tenant; see `suspend.ts`. */
  suspend(requestId: string, name: string, by?: SuspendReason): Promise<TenantRecord>;
  /** Resolves with the running tenant; see `resume.ts`. */
  resume(requestId: string, name: string, options?: ResumeOptions): Promise<TenantRecord>;
  /** Resolves with what was found, done and found again; see `repair.ts`. */
  repair(name: string): Promise<RepairReport>;
  /** Compares what should be with what is, and makes it so. */
  reconcile(): Promise<void>;
}

interface ActiveSpawn {
  readonly cancel: AbortController;
  readonly settled: Promise<unknown>;
}

export function createTenantOperations(life: Lifecycle): TenantOperations {
  /** By tenant name. Two calls may race for one name until the journal refuses one of them, so there can be two. */
  const spawns = new Map<string, Set<ActiveSpawn>>();

  function register(name: string, active: ActiveSpawn): void {
    const ofName = spawns.get(name) ?? new Set();
    spawns.set(name, ofName.add(active));
    void active.settled.then(() => {
      ofName.delete(active);
      if (ofName.size === 0) spawns.delete(name);
    });
  }

  function spawn(wish: SpawnWish, fill?: DiskFill): Promise<TenantRecord> {
    const existing = life.tenants.find(wish.name);
    if (existing?.requestId === wish.requestId && existing.phase === "running") return Promise.resolve(existing);
    const cancel = new AbortController();
    const running = spawnTenant(life, wish, cancel.signal, fill);
    register(wish.name, { cancel, settled: running.catch(() => undefined) });
    return running;
  }

  async function evict(requestId: string, name: string): Promise<void> {
    const earlier = life.journal.evictionOf(requestId);
    if (earlier !== undefined && earlier.name !== name) throw requestIdReused(requestId);
    const tenant = earlier === undefined ? life.tenants.find(name) : life.tenants.findByVm(earlier.vmId);
    if (tenant === undefined) {
      if (earlier !== undefined) return;
      throw tenantNotFound(name);
    }
    life.journal.beginEvict(tenant, requestId);
    const spawning = [...(spawns.get(name) ?? [])];
    for (const { cancel } of spawning) {
      cancel.abort(fail("SPAWN_CANCELLED", `tenant ${name} was evicted while it was being spawned`));
    }
    const evicted = fail("TENANT_BUSY", `tenant ${name} is being evicted`, { metadata: { tenant: name } });
    const turns = [tenant.vmId, backupTurn(tenant.vmId)].map((turn) => life.turns.clear(turn, evicted));
    await Promise.all([...spawning.map(({ settled }) => settled), ...turns]);
    const leftovers = await life.remove(tenant.vmId);
    if (leftovers.length > 0) {
      throw fail("EVICTION_INCOMPLETE", `tenant ${name} is cut off; removal goes on: ${leftovers.join(", ")}`, {
        metadata: { tenant: name, leftovers: leftovers.join(",") },
      });
    }
    life.events.tenantEvicted(tenant);
  }

  return {
    spawn,
    updateEgress: (name, egress) => updateEgress(life, name, egress),
    update: (name, update) => updateTenant(life, name, update),
    evict,
    suspend: (requestId, name, by) => suspendTenant(life, requestId, name, by),
    resume: (requestId, name, options) => resumeTenant(life, requestId, name, options),
    repair: (name) => repairTenant(life, name),
    reconcile: () => reconcile(life, (name) => spawns.has(name)),
  };
}
