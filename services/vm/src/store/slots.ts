import type { DatabaseSync } from "node:sqlite";

/** Slots of this host. A slot is taken while a tenant's row holds it; the choice is made in the transaction that inserts the row. */
export interface SlotStore {
  /**
   * The slot that has been free longest, never used ones first; `undefined` if none is free or all free ones are still in
   * quarantine. An address that is handed on too soon would give the next tenant the old one's late packets.
   */
  choose(nowMs: number): number | undefined;
  /** Starts the quarantine of a slot whose tenant's row goes away in the same transaction. */
  release(slot: number, nowMs: number): void;
}

export function openSlotStore(database: DatabaseSync, slotCount: number, quarantineMs: number): SlotStore {
  const taken = database.prepare("SELECT slot FROM tenant");
  const freed = database.prepare("SELECT slot, free_time_ms FROM freed_slot");
  const free = database.prepare(
    "INSERT INTO freed_slot (slot, free_time_ms) VALUES (?, ?) ON CONFLICT (slot) DO UPDATE SET free_time_ms = excluded.free_time_ms",
  );
  return {
    choose: (nowMs) => {
      const inUse = new Set(taken.all().map((row) => Number(row["slot"])));
      const freeTimes = new Map(freed.all().map((row) => [Number(row["slot"]), Number(row["free_time_ms"])]));
      let best: { slot: number; freeTimeMs: number } | undefined;
      for (let slot = 0; slot < slotCount; slot++) {
        if (inUse.has(slot)) continue;
        const freeTimeMs = freeTimes.get(slot) ?? Number.NEGATIVE_INFINITY;
        // A clock that was set back must not lock a slot away for ever.
        const quarantined = nowMs >= freeTimeMs && nowMs - freeTimeMs < quarantineMs;
        if (!quarantined && (best === undefined || freeTimeMs < best.freeTimeMs)) best = { slot, freeTimeMs };
      }
      return best?.slot;
    },
    release: (slot, nowMs) => void free.run(slot, nowMs),
  };
}
