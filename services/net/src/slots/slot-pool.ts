import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "@lobsterd/chassis/logger.ts";
import { fail } from "../errors.ts";
import { createSerial } from "../host/serial.ts";
import { namespacePath } from "./address-plan.ts";
import type { SlotBuilder, SlotInventory } from "./slot-builder.ts";

/** Small, so that a slot asked for in the middle of a batch does not wait long for it. */
const batchSize = 4;
/** Used slots are made anew together, as many as have gathered; so many at once are as fast as it gets. */
const maxGathered = 32;

export interface SlotPoolOptions {
  readonly slotCount: number;
  readonly netnsDir: string;
  /** How long an attach waits for a slot that is not warm. */
  readonly slotReadyTimeoutMs: number;
}

/**
 * Which slots are warm: whole, with rules read back equal, and never used by a tenant since they were made. (A slot stays
 * warm in this sense while its tenant uses it.) Cold ones are made in the background, in order.
 */
export interface SlotPool {
  /** Resolves at once for a warm slot and otherwise when it was made. Throws SLOT_NOT_READY after the bound. */
  ready(slot: number): Promise<void>;
  /** Makes a used slot anew in the background, then calls `done`. A failure leaves it cold, and `done` uncalled, for `fill`. */
  retire(slot: number, done: () => void): void;
  /** Takes a slot that was found whole; it belongs to a tenant that runs. */
  adopt(slot: number): void;
  /** A warm slot turned out not to be whole. */
  invalidate(slot: number): void;
  isWarm(slot: number): boolean;
  /** Warm slots, each with a number that changes whenever it is made anew. */
  warm(): ReadonlyMap<number, number>;
  /** Makes every cold slot warm, keeping those that are found whole. Throws at the end if some failed; never runs twice at once. */
  fill(signal: AbortSignal): Promise<void>;
}

interface Gathering {
  readonly slots: number[];
  /** Makings of the same slots that are under way. */
  readonly earlier: Promise<void>[];
  done: Promise<void>;
}

export function createSlotPool(builder: SlotBuilder, options: SlotPoolOptions, logger: Logger): SlotPool {
  const warm = new Map<number, number>();
  const making = new Map<number, Promise<void>>();
  /** Used by a tenant and not made anew yet: to be remade even if found whole. */
  const used = new Map<number, () => void>();
  const background = createSerial();
  let filling: Promise<void> | undefined;
  let gathering: Gathering | undefined;
  let sequence = 0;

  function begin(slots: readonly number[], work: () => Promise<void>): Promise<void> {
    for (const slot of slots) warm.delete(slot);
    // A later making of the same slot replaces this one, and then only the later one says whether the slot is warm.
    const finish = (slot: number): boolean => making.get(slot) === done && making.delete(slot);
    const done: Promise<void> = work().then(
      () => {
        for (const slot of slots.filter(finish)) {
          warm.set(slot, ++sequence);
          used.get(slot)?.();
          used.delete(slot);
        }
      },
      (error: unknown) => {
        slots.filter(finish);
        throw error;
      },
    );
    for (const slot of slots) making.set(slot, done);
    return done;
  }

  /** A batch that is not being made yet, to which used slots are added. */
  function gatheringNow(): Gathering {
    if (gathering !== undefined && gathering.slots.length < maxGathered) return gathering;
    const next: Gathering = { slots: [], earlier: [], done: Promise.resolve() };
    const remake = async (): Promise<void> => {
      if (gathering === next) gathering = undefined;
      await Promise.allSettled(next.earlier);
      await builder.make(next.slots);
    };
    next.done = begin(next.slots, () => background.run(remake));
    next.done.catch((error: unknown) => {
      logger.error({ err: error, slots: next.slots }, "slots were not made anew, trying again later");
    });
    gathering = next;
    return next;
  }

  function cold(): number[] {
    const all = Array.from({ length: options.slotCount }, (_, slot) => slot);
    return all.filter((slot) => !warm.has(slot) && !making.has(slot));
  }

  async function keepWhole(slots: readonly number[], inventory: SlotInventory): Promise<number[]> {
    const rest: number[] = [];
    for (const slot of slots) {
      const whole =
        !used.has(slot) &&
        inventory.links.get(slot) === "complete" &&
        inventory.namespaces.has(namespacePath(options.netnsDir, slot));
      if (!whole || !(await hasRules(slot))) rest.push(slot);
    }
    return rest;
  }

  async function hasRules(slot: number): Promise<boolean> {
    try {
      return !(await builder.restoreRules(slot));
    } catch (error) {
      logger.warn({ err: error, slot }, "slot is not usable, making it anew");
      return false;
    }
  }

  async function fill(signal: AbortSignal): Promise<void> {
    if (cold().length === 0) return;
    const inventory = await builder.inventory();
    const tried = new Set<number>();
    const failures: unknown[] = [];
    const next = (): number[] =>
      cold()
        .filter((slot) => !tried.has(slot))
        .slice(0, batchSize);
    for (let slots = next(); slots.length > 0 && !signal.aborted; slots = next()) {
      for (const slot of slots) tried.add(slot);
      const batch = slots;
      const work = async (): Promise<void> => {
        const rest = await keepWhole(batch, inventory);
        if (rest.length > 0) await builder.make(rest);
      };
      // One slot that cannot be made must not keep the others cold.
      await begin(batch, () => background.run(work)).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw new AggregateError(failures, "some slots could not be made");
  }

  return {
    async ready(slot) {
      if (warm.has(slot)) return;
      const done = making.get(slot) ?? begin([slot], () => builder.make([slot]));
      await within(options.slotReadyTimeoutMs, slot, done);
    },
    retire(slot, done) {
      used.set(slot, done);
      warm.delete(slot);
      const batch = gatheringNow();
      const earlier = making.get(slot);
      if (earlier !== undefined && earlier !== batch.done) batch.earlier.push(earlier);
      if (!batch.slots.includes(slot)) batch.slots.push(slot);
      making.set(slot, batch.done);
    },
    adopt: (slot) => void warm.set(slot, ++sequence),
    invalidate: (slot) => void warm.delete(slot),
    isWarm: (slot) => warm.has(slot),
    warm: () => new Map(warm),
    fill(signal) {
      filling ??= fill(signal).finally(() => {
        filling = undefined;
      });
      return filling;
    },
  };
}

async function within(timeoutMs: number, slot: number, done: Promise<void>): Promise<void> {
  const ended = new AbortController();
  const late = delay(timeoutMs, undefined, { signal: ended.signal }).then(() => {
    throw fail("SLOT_NOT_READY", `slot ${slot} was not ready within ${timeoutMs} ms`, {
      metadata: { slot: String(slot) },
    });
  });
  try {
    await Promise.race([done, late]);
  } finally {
    late.catch(() => undefined);
    ended.abort();
  }
}
