/**
 * Finds tenants that nobody uses and has them suspended. Invariants:
 *
 * 1. Only a tenant whose policy asks for it is suspended, once each look of the whole threshold found it idle. A look that failed is none that did.
 * 2. What the host sees keeps a tenant awake without end; what only its guest says does so within an hourly budget.
 * 3. Time is a clock that is never set: a host's clock that jumps makes nobody idle.
 * 4. At most `concurrentIdleSuspends` at a time; one that failed is tried again later and later.
 */
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { fail } from "../errors.ts";
import { retryPauseMs } from "../lifecycle/retry-pause.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { TenantStore } from "../store/tenants.ts";
import type { Evidence } from "./evidence.ts";
import type { GuestBudget } from "./guest-budget.ts";

export interface IdleDetector {
  /** Looks at every tenant once, and begins suspends without waiting for them. */
  look(signal: AbortSignal): Promise<void>;
  /** As last looked at; undefined for a tenant that is not. `silenceMs` is a whole number. */
  viewOf(vmId: string): { readonly awakeBy: readonly string[]; readonly silenceMs: number } | undefined;
}

export interface IdleParts {
  readonly tenants: Pick<TenantStore, "all">;
  readonly gather: (tenant: TenantRecord, signal: AbortSignal) => Promise<Evidence>;
  readonly isHeld: (vmId: string) => boolean;
  /** Suspends a tenant; `admit` throws when it is no longer to be, and is called when nothing has been done to it yet. */
  readonly suspend: (tenant: TenantRecord, admit: () => void) => Promise<void>;
  /** Whether a tenant has run for long enough. Absent: any has. */
  readonly hasRunEnough?: (tenant: TenantRecord) => boolean;
  readonly budget: GuestBudget;
  readonly concurrentSuspends: number;
  /** Milliseconds of a clock that is never set. */
  readonly now: () => number;
  readonly logger: Logger;
}

interface Watched {
  generation: number;
  lastActiveMs: number;
  lastLookMs: number;
  nextLookMs: number;
  awakeBy: readonly string[];
  failures: number;
  notBeforeMs: number;
}

const concurrentLooks = 16;
/** A guest that hangs takes the place of others for as long as a look may last: it is asked again later than they are. */
const unknownPauseMs = 10_000;

export function createIdleDetector(parts: IdleParts): IdleDetector {
  const { now, logger } = parts;
  const watched = new Map<string, Watched>();
  const suspending = new Set<string>();

  function watch({ vmId, generation }: TenantRecord): Watched {
    const known = watched.get(vmId);
    const nowMs = now();
    const fresh = { generation, lastActiveMs: nowMs, lastLookMs: nowMs, nextLookMs: nowMs, awakeBy: ["unknown"] };
    if (known === undefined) {
      const first = { ...fresh, failures: 0, notBeforeMs: 0 };
      watched.set(vmId, first);
      return first;
    }
    // It was suspended, or is another guest: what it did before is over.
    return known.generation === generation ? known : Object.assign(known, fresh);
  }

  async function lookAt(tenant: TenantRecord, signal: AbortSignal): Promise<void> {
    const state = watch(tenant);
    const beganMs = now();
    if (beganMs < state.nextLookMs) return;
    try {
      weigh(tenant, state, await parts.gather(tenant, signal), beganMs);
    } catch (error) {
      if (signal.aborted) return;
      state.awakeBy = ["unknown"];
      state.lastActiveMs = now();
      state.nextLookMs = now() + unknownPauseMs;
      logger.debug({ tenant: tenant.name, vmId: tenant.vmId, reason: reasonOf(error) }, "a tenant's use is unknown");
    }
    state.lastLookMs = beganMs;
    const { idlePolicy } = tenant;
    const isIdle = idlePolicy.mode === "after" && now() - state.lastActiveMs >= idlePolicy.thresholdMs;
    if (isIdle && now() >= state.notBeforeMs && (parts.hasRunEnough?.(tenant) ?? true)) begin(tenant, state);
  }

  function weigh({ vmId }: TenantRecord, state: Watched, evidence: Evidence, beganMs: number): void {
    const { seen, claimed, inboundSilenceMs } = evidence;
    const isHeeded = claimed.length > 0 && parts.budget.isLeft(vmId);
    // Between two looks of which one failed anything may have gone on.
    if (seen.length > 0 || isHeeded || state.awakeBy.includes("unknown")) state.lastActiveMs = now();
    else if (inboundSilenceMs !== undefined)
      state.lastActiveMs = Math.max(state.lastActiveMs, beganMs - inboundSilenceMs);
    if (seen.length === 0 && isHeeded) parts.budget.spend(vmId, beganMs - state.lastLookMs);
    state.awakeBy = [...seen, ...(isHeeded ? claimed : [])];
  }

  function begin(tenant: TenantRecord, state: Watched): void {
    const { vmId } = tenant;
    if (suspending.size >= parts.concurrentSuspends || suspending.has(vmId)) return;
    suspending.add(vmId);
    const admit = () => {
      if (parts.isHeld(vmId)) throw fail("TENANT_NOT_IDLE", `tenant ${tenant.name} is held`);
    };
    void parts
      .suspend(tenant, admit)
      .then(() => void watched.delete(vmId))
      .catch((error: unknown) => {
        state.lastActiveMs = now();
        if (reasonOf(error) === "TENANT_NOT_IDLE") return;
        state.failures += 1;
        const pauseMs = retryPauseMs(state.failures);
        state.notBeforeMs = now() + pauseMs;
        logger.warn({ err: error, tenant: tenant.name, vmId, pauseMs }, "an idle tenant could not be suspended");
      })
      .finally(() => suspending.delete(vmId));
  }

  return {
    look: async (signal) => {
      const all = parts.tenants.all();
      const present = new Set(all.map(({ vmId }) => vmId));
      for (const vmId of watched.keys()) {
        if (present.has(vmId)) continue;
        watched.delete(vmId);
        parts.budget.forget(vmId);
      }
      const waiting = all
        .filter(
          ({ phase, idlePolicy, vmId }) => phase === "running" && idlePolicy.mode === "after" && !suspending.has(vmId),
        )
        .values();
      const work = async () => {
        for (const tenant of waiting) {
          if (signal.aborted) return;
          await lookAt(tenant, signal);
        }
      };
      await Promise.all(Array.from({ length: concurrentLooks }, work));
    },
    viewOf: (vmId) => {
      const state = watched.get(vmId);
      return state && { awakeBy: state.awakeBy, silenceMs: Math.max(0, Math.round(now() - state.lastActiveMs)) };
    },
  };
}
