/** Wakes tenants for requests and schedules: within their budgets, and once for however many ask. */
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { fail } from "../errors.ts";
import type { Lifecycle } from "../lifecycle/lifecycle.ts";
import { resumeTenant } from "../lifecycle/resume.ts";
import { settlers } from "../lifecycle/settle.ts";
import { requirePhase } from "../lifecycle/sleep-calls.ts";
import { publishTenantRoute } from "../lifecycle/tenant-route.ts";
import { vmMetrics } from "../metrics.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import { createWakeBudget, hasRunEnough } from "./wake-budget.ts";
import type { WakeCauseText } from "./wake-cause.ts";
import type { WakeStore } from "./wake-store.ts";

/** Whom to wake, and why. */
export interface WakeWish {
  readonly requestId: string;
  readonly name: string;
  /** Another microVM of the name is not woken. */
  readonly vmId: string;
  readonly cause: WakeCauseText;
}

export interface TenantWakes {
  /**
   * Returns the tenant running, with its route awake. Wishes for one microVM at a time share one wake. Throws TENANT_NOT_FOUND, TENANT_BUSY,
   * TENANT_NOT_SUSPENDED, WAKE_HOST_BUDGET, WAKE_TENANT_BUDGET, or as `resumeTenant` does. Goes on when its caller goes away.
   */
  wake(wish: WakeWish): Promise<TenantRecord>;
  /** Whether the idle detector may suspend the tenant; see `hasRunEnough`. */
  mayRest(vmId: string): boolean;
}

/** Somebody else may resume or suspend the tenant meanwhile; whoever does so again and again has it. */
const maxAttempts = 3;

export function createTenantWakes(life: Lifecycle, store: WakeStore): TenantWakes {
  const budget = createWakeBudget(store, life.config, life.now);
  const running = new Map<string, Promise<TenantRecord>>();

  async function resume({ requestId, name, vmId, cause }: WakeWish): Promise<TenantRecord> {
    const beginMs = life.now();
    using _place = await budget.enter(name, vmId);
    const tenant = await resumeTenant(life, requestId, name, { cause });
    store.end(vmId, life.now());
    life.events.tenantWoken(tenant, cause, life.now() - beginMs);
    return tenant;
  }

  /** Waits until nobody does anything to the tenant; what nobody does any more is brought to its end. */
  async function settle(vmId: string): Promise<void> {
    await life.turns.take(vmId, async () => undefined);
    const operation = life.journal.find(vmId);
    if (operation !== undefined) await settlers[operation.kind]?.(life, operation);
  }

  async function wakeOnce(wish: WakeWish): Promise<TenantRecord> {
    const { name, vmId } = wish;
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const tenant = life.tenants.find(name);
      if (tenant === undefined || tenant.vmId !== vmId) {
        throw fail("TENANT_NOT_FOUND", `there is no tenant ${name} with this microVM`, { metadata: { tenant: name } });
      }
      if (tenant.phase === "running") {
        // Whoever asks does not know that it runs.
        await publishTenantRoute(life.parts, tenant);
        return tenant;
      }
      if (tenant.phase === "suspending" || tenant.phase === "resuming") {
        await settle(vmId);
        continue;
      }
      requirePhase(tenant, name, "suspended");
      try {
        return await resume(wish);
      } catch (error) {
        const isAhead = ["TENANT_BUSY", "TENANT_NOT_SUSPENDED"].includes(reasonOf(error) ?? "");
        const isGone = life.tenants.findByVm(vmId) === undefined;
        if (!isAhead && !isGone) throw error;
      }
    }
    throw fail("TENANT_BUSY", `tenant ${name} is kept busy by others`, { metadata: { tenant: name } });
  }

  return {
    wake: (wish) => {
      const known = running.get(wish.vmId);
      if (known !== undefined) return known;
      const wake = wakeOnce(wish)
        .then(
          (tenant) => {
            vmMetrics.wakes.add(1, { outcome: "woken" });
            return tenant;
          },
          (error: unknown) => {
            vmMetrics.wakes.add(1, { outcome: outcomeOf(error) });
            throw error;
          },
        )
        .finally(() => running.delete(wish.vmId));
      running.set(wish.vmId, wake);
      return wake;
    },
    mayRest: (vmId) => hasRunEnough(store, life.config, vmId, life.now()),
  };
}

function outcomeOf(error: unknown) {
  const reason = reasonOf(error);
  if (reason === "WAKE_HOST_BUDGET") return "refused-by-host-budget";
  return reason === "WAKE_TENANT_BUDGET" ? "refused-by-tenant-budget" : "failed";
}
