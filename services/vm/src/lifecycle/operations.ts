import { fail } from "../errors.ts";
import type { TenantRecord } from "../store/tenants.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { SpawnWish } from "./plan.ts";
import { reconcile } from "./reconcile.ts";
import { spawnTenant } from "./spawn.ts";

/** What can be done to tenants. Each operation runs to its end whether or not its caller waits. */
export interface TenantOperations {
  /** Resolves with the running tenant. A tenant that this very request made before a crash of `vm` is that answer again. */
  spawn(wish: SpawnWish): Promise<TenantRecord>;
  /** Resolves when nothing is left. Cancels a spawn that is under way. Throws TENANT_NOT_FOUND, EVICTION_INCOMPLETE. */
  evict(name: string): Promise<void>;
  /** Compares what should be with what is, and makes it so. */
  reconcile(): Promise<void>;
}

interface ActiveSpawn {
  readonly cancel: AbortController;
  readonly settled: Promise<unknown>;
}

export function createTenantOperations(life: Lifecycle): TenantOperations {
  const spawns = new Map<string, ActiveSpawn>();

  function spawn(wish: SpawnWish): Promise<TenantRecord> {
    const existing = life.tenants.find(wish.name);
    if (existing?.requestId === wish.requestId && existing.phase === "running") return Promise.resolve(existing);
    const cancel = new AbortController();
    const limit = AbortSignal.timeout(life.config.spawnLimitMs);
    limit.addEventListener("abort", () =>
      cancel.abort(fail("SPAWN_LIMIT_EXCEEDED", `the spawn took longer than ${life.config.spawnLimitMs} ms`)),
    );
    const running = spawnTenant(life, wish, cancel.signal);
    if (!spawns.has(wish.name)) {
      const settled = running.catch(() => undefined).finally(() => spawns.delete(wish.name));
      spawns.set(wish.name, { cancel, settled });
    }
    return running;
  }

  async function evict(name: string): Promise<void> {
    const tenant = life.tenants.find(name);
    if (tenant === undefined) {
      throw fail("TENANT_NOT_FOUND", `there is no tenant ${name}`, { metadata: { tenant: name } });
    }
    life.journal.beginEvict(tenant);
    const spawning = spawns.get(name);
    spawning?.cancel.abort(fail("SPAWN_CANCELLED", `tenant ${name} was evicted while it was being spawned`));
    await spawning?.settled;
    const leftovers = await life.remove(tenant.vmId);
    if (leftovers.length > 0) {
      throw fail("EVICTION_INCOMPLETE", `tenant ${name} is cut off; removal goes on: ${leftovers.join(", ")}`, {
        metadata: { tenant: name, leftovers: leftovers.join(",") },
      });
    }
    life.events.tenantEvicted(tenant);
  }

  return { spawn, evict, reconcile: () => reconcile(life, (name) => spawns.has(name)) };
}
