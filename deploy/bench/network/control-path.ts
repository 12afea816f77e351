import { usual } from "@lobsterd/net/testing/ground.ts";
import { newVmId, type World } from "./world.ts";

/** Milliseconds of calls on a warm slot beside the world's tenants. */
export interface ControlTimes {
  readonly attach: number[];
  readonly attachByRpc: number[];
  /** A call that does next to nothing. */
  readonly readByRpc: number[];
  readonly detach: number[];
}

export function noTimes(): ControlTimes {
  return { attach: [], attachByRpc: [], readByRpc: [], detach: [] };
}

/** One attach of each kind, each on a slot that was never used since it was made, and on a machine that makes none meanwhile. */
export async function measureControlPath({ stack, spares, ...world }: World, times: ControlTimes): Promise<void> {
  const [slot, other] = spares;
  if (slot === undefined || other === undefined) throw new RangeError("two spare slots are needed");
  const [vmId, otherId] = [newVmId(), newVmId()];
  await world.settle();
  times.attach.push(await timed(() => stack.networks.attach({ vmId, slot, ...usual })));
  times.attachByRpc.push(await world.attachByRpc(otherId, other));
  times.readByRpc.push(await world.readByRpc());
  times.detach.push(await timed(() => stack.networks.detach(vmId)));
  await world.detachByRpc(otherId);
  await world.settle();
}

/** Milliseconds until `work` is done. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
