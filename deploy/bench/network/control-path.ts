import { setTimeout as delay } from "node:timers/promises";
import { usual } from "@lobsterd/net/testing/ground.ts";
import { newVmId, type World } from "./world.ts";

/** How many spare slots the measurements of the control path use. */
export const controlSpares = 3;
/** After so long neither process's code is in the core's caches, and its core has gone idle. */
const sleepMs = 100;
/** What wakes both processes before a call: a spawn comes to AttachNetwork after other calls. */
const wakingReads = 5;

/** Milliseconds of calls on a warm slot beside the world's tenants. */
export interface ControlTimes {
  readonly attach: number[];
  /** By another process, when neither did anything for a while. */
  readonly attachAsleep: number[];
  /** By another process, when both have just been at work. */
  readonly attachAwake: number[];
  /** A call that does next to nothing, likewise. */
  readonly readAwake: number[];
  readonly detach: number[];
}

export function noTimes(): ControlTimes {
  return { attach: [], attachAsleep: [], attachAwake: [], readAwake: [], detach: [] };
}

/** One attach of each kind, each on a slot that was never used since it was made, and on a machine that makes none meanwhile. */
export async function measureControlPath({ stack, spares, ...world }: World, times: ControlTimes): Promise<void> {
  const [slot, second, third] = spares;
  if (slot === undefined || second === undefined || third === undefined) throw new RangeError("too few spare slots");
  const [vmId, asleepId, awakeId] = [newVmId(), newVmId(), newVmId()];
  await world.settle();
  times.attach.push(await timed(() => stack.networks.attach({ vmId, slot, ...usual })));
  await delay(sleepMs);
  times.attachAsleep.push(await world.attachByRpc(asleepId, second));
  await world.readByRpc(wakingReads);
  times.attachAwake.push(await world.attachByRpc(awakeId, third));
  times.readAwake.push(await world.readByRpc(1));
  times.detach.push(await timed(() => stack.networks.detach(vmId)));
  await world.detachByRpc(asleepId);
  await world.detachByRpc(awakeId);
  await world.settle();
}

/** `calls` times AttachNetwork by another process, the first that either process serves or makes. */
export async function measureFresh({ spares, ...world }: World, calls: number): Promise<number[]> {
  const [slot] = spares;
  if (slot === undefined) throw new RangeError("a spare slot is needed");
  const times: number[] = [];
  for (let call = 0; call < calls; call += 1) {
    const vmId = newVmId();
    await world.settle();
    times.push(await world.attachByRpc(vmId, slot));
    await world.detachByRpc(vmId);
  }
  await world.settle();
  return times;
}

/** Milliseconds until `work` is done. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
