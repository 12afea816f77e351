/**
 * Takes a host out of use. The rules:
 *
 * 1. A drain is a row: it outlives `vm`, and nothing is admitted from the moment that it is there.
 * 2. It is a wish, not an operation: whoever runs while it is in force is suspended by the next run, so no spawn that was under way escapes it.
 * 3. A tenant that cannot be suspended goes on and is tried again later and later, since each try may cut it off for a moment; none is evicted.
 */
import { randomUUID } from "node:crypto";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { fail } from "../errors.ts";
import type { DrainRecord, DrainStore } from "../store/host-drain.ts";
import type { TenantPhase } from "../store/tenant-record.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { retryPauseMs } from "./retry-pause.ts";
import { suspendTenant } from "./suspend.ts";

/** How far a drain is. */
export interface DrainProgress extends DrainRecord {
  readonly activeCount: number;
  readonly suspendedCount: number;
  readonly isDone: boolean;
  readonly failures: readonly { readonly tenant: string; readonly reason: string }[];
}

export interface HostDrain {
  /** Puts a drain in force, or changes the one that is, and has all be tried by the next run; its work goes on when this returns. */
  begin(wish: Pick<DrainRecord, "tenants" | "reason">): DrainProgress;
  end(): void;
  progress(): DrainProgress | undefined;
  /** Tries once to suspend every tenant that runs and has no pause after a failure, if a drain wants that; a run that is under way is shared. */
  run(): Promise<void>;
}

/** Each is held in memory and sealed at the same time. */
const concurrentSuspends = 2;
const maxFailures = 100;
const active: ReadonlySet<TenantPhase> = new Set(["spawning", "running", "suspending", "resuming"]);
/** What a suspend says of a tenant that is not running any more, or is under something else that ends. */
const passing: ReadonlySet<string> = new Set(["TENANT_NOT_FOUND", "TENANT_NOT_RUNNING", "TENANT_BUSY"]);

/** Throws HOST_DRAINING. Part of the transaction that records what is admitted. */
export function admitSpawn(drains: DrainStore): void {
  const drain = drains.find();
  if (drain !== undefined) throw draining(drain);
}

/** The same for a tenant that is here: it may go on where tenants are kept. */
export function admitResume(drains: DrainStore): void {
  const drain = drains.find();
  if (drain?.tenants === "suspend") throw draining(drain);
}

function draining({ reason }: DrainRecord) {
  return fail("HOST_DRAINING", `this host is drained${reason === "" ? "" : `: ${reason}`}`, { metadata: { reason } });
}

interface Failure {
  readonly reason: string;
  readonly count: number;
  readonly notBeforeMs: number;
}

export function createHostDrain(life: Lifecycle): HostDrain {
  const { drains, tenants, events, steadyNow } = life;
  /** By VM id. */
  const failures = new Map<string, Failure>();
  let running: Promise<void> | undefined;

  function progress(): DrainProgress | undefined {
    const drain = drains.find();
    if (drain === undefined) return undefined;
    const all = tenants.all();
    const activeCount = all.filter(({ phase }) => active.has(phase)).length;
    const failed = all.flatMap(({ name, vmId, phase }) => {
      const reason = phase === "running" ? failures.get(vmId)?.reason : undefined;
      return reason === undefined ? [] : [{ tenant: name, reason }];
    });
    return {
      ...drain,
      activeCount,
      suspendedCount: all.filter(({ phase }) => phase === "suspended").length,
      isDone: drain.tenants === "keep" || activeCount === 0,
      failures: failed.slice(0, maxFailures),
    };
  }

  const isSuspending = () => drains.find()?.tenants === "suspend";

  function fails(vmId: string, reason: string): void {
    const count = (failures.get(vmId)?.count ?? 0) + 1;
    failures.set(vmId, { reason, count, notBeforeMs: steadyNow() + retryPauseMs(count) });
  }

  async function suspendAll(): Promise<void> {
    const waiting = tenants
      .all()
      .filter(({ phase, vmId }) => phase === "running" && steadyNow() >= (failures.get(vmId)?.notBeforeMs ?? 0))
      .values();
    const worker = async () => {
      for (const { name, vmId } of waiting) {
        if (!isSuspending()) return;
        try {
          await suspendTenant(life, randomUUID(), name);
          failures.delete(vmId);
        } catch (error) {
          const reason = reasonOf(error) ?? "INTERNAL";
          if (!passing.has(reason)) fails(vmId, reason);
        }
      }
    };
    await Promise.all(Array.from({ length: concurrentSuspends }, worker));
  }

  return {
    begin(wish) {
      const before = drains.find();
      const drain = drains.put({ ...wish, startTimeMs: life.now() });
      if (before === undefined) failures.clear();
      for (const [vmId, { reason }] of failures) failures.set(vmId, { reason, count: 0, notBeforeMs: 0 });
      events.hostDraining(drain);
      return progress() ?? { ...drain, activeCount: 0, suspendedCount: 0, isDone: true, failures: [] };
    },
    end() {
      failures.clear();
      if (drains.clear()) events.hostUndrained();
    },
    progress,
    run() {
      if (!isSuspending()) return Promise.resolve();
      running ??= suspendAll()
        .catch((error: unknown) => life.logger.warn({ err: error }, "a drain could not go on"))
        .finally(() => {
          running = undefined;
        });
      return running;
    },
  };
}
