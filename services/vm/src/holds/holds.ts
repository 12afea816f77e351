/**
 * Holds keep a running tenant from being suspended for idleness, and from nothing else. Invariants:
 *
 * 1. A hold ends by itself, at most 5 minutes after it was taken or renewed last, and outlives a restart of `vm` until then.
 * 2. A tenant has at most 16 of each kind at once, so that callers' holds keep nobody from running a command.
 * 3. A clock that was set back holds nobody awake: what would end later than a hold can has ended.
 */
import { randomBytes } from "node:crypto";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { fail } from "../errors.ts";
import type { HoldKind, HoldRow, HoldStore } from "./hold-store.ts";

export const maxHoldMs = 300_000;
export const maxHolds = 16;
/** A stream's hold outlasts one renewal that comes late. */
const streamRenewalMs = 120_000;

export interface Holds {
  /** Throws HOLD_TOO_LONG, TOO_MANY_HOLDS. */
  acquire(vmId: string, durationMs: number): HoldRow;
  /** Lets a hold end `durationMs` from now. Throws HOLD_TOO_LONG, HOLD_NOT_FOUND. */
  renew(vmId: string, holdId: string, durationMs: number): HoldRow;
  /** Safe to repeat. */
  release(vmId: string, holdId: string): void;
  /** Passes `stream` on, with a hold for as long as it is read. Throws TOO_MANY_HOLDS before anything of it is read. */
  during<T>(vmId: string, stream: AsyncIterable<T>): AsyncGenerator<T>;
  count(vmId: string): number;
}

export function createHolds(store: HoldStore, now: () => number, logger: Logger): Holds {
  function take(vmId: string, kind: HoldKind, durationMs: number): HoldRow {
    requireShort(durationMs);
    const nowMs = now();
    store.prune(vmId, nowMs, nowMs + maxHoldMs);
    if (store.count(vmId, nowMs, nowMs + maxHoldMs, kind) >= maxHolds)
      throw fail("TOO_MANY_HOLDS", `a tenant has at most ${maxHolds} of these holds at once`);
    const hold = { holdId: randomBytes(16).toString("hex"), vmId, kind, expireTimeMs: nowMs + durationMs };
    store.put(hold);
    return hold;
  }

  /** Of a timer, in which nothing may be thrown. A hold that could not be made longer ends at its time, unless a later renewal comes before that. */
  function extend({ holdId, vmId }: HoldRow): void {
    try {
      store.extend(holdId, now() + maxHoldMs);
    } catch (error) {
      logger.warn({ err: error, vmId }, "the hold of a stream was not renewed");
    }
  }

  const release = (vmId: string, holdId: string) => store.remove(vmId, holdId);
  return {
    acquire: (vmId, durationMs) => take(vmId, "caller", durationMs),
    renew: (vmId, holdId, durationMs) => {
      requireShort(durationMs);
      const nowMs = now();
      store.prune(vmId, nowMs, nowMs + maxHoldMs);
      const known = store.find(vmId, holdId);
      if (known?.kind !== "caller") throw fail("HOLD_NOT_FOUND", "the hold has ended, or never was");
      const renewed = { ...known, expireTimeMs: nowMs + durationMs };
      store.put(renewed);
      return renewed;
    },
    release,
    during: async function* (vmId, stream) {
      const hold = take(vmId, "stream", maxHoldMs);
      const renewal = setInterval(() => extend(hold), streamRenewalMs);
      renewal.unref();
      try {
        yield* stream;
      } finally {
        clearInterval(renewal);
        release(vmId, hold.holdId);
      }
    },
    count: (vmId) => store.count(vmId, now(), now() + maxHoldMs),
  };
}

function requireShort(durationMs: number): void {
  if (durationMs <= maxHoldMs) return;
  throw fail("HOLD_TOO_LONG", `a hold lasts at most ${maxHoldMs / 1000} s: renew it before it ends`, {
    metadata: { field: "duration" },
  });
}
