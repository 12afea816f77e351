import { setTimeout as delay } from "node:timers/promises";
import { world as places } from "@lobsterd/net/testing/ground.ts";
import { plugGuest } from "@lobsterd/net/testing/guest.ts";
import { start } from "./traffic.ts";
import { newVmId, unshaped, type World } from "./world.ts";

const port = 7010;

/** Milliseconds from the call of a detach. */
export interface CutTimes {
  /** When the last datagram that still arrived outside was sent. */
  readonly cutMs: number;
  readonly returnedMs: number;
}

/** Attaches a guest to a spare slot, lets it send without a pause and takes its network away. Uses the slot up for further guests. */
export async function measureCut({ ground, stack, ...world }: World, slot: number): Promise<CutTimes> {
  const vmId = newVmId();
  await world.settle();
  await stack.networks.attach({ vmId, slot, ...unshaped });
  const guest = await plugGuest(ground, slot);
  const receiver = start("last", ground.path("internet"), "-", port);
  await receiver.line();
  const sender = start("tick", ground.path(`guest${slot}`), places.internet, port);
  try {
    await sender.line();
    await receiver.line();
    // Long enough that the stream is as it will be.
    await delay(100);
    const calledMs = Number(process.hrtime.bigint()) / 1e6;
    await stack.networks.detach(vmId);
    const returnedMs = Number(process.hrtime.bigint()) / 1e6 - calledMs;
    const lastMs = Number(await receiver.line());
    return { cutMs: Math.max(0, lastMs - calledMs), returnedMs };
  } finally {
    await Promise.all([sender.stop(), receiver.stop(), guest.actor.close()]);
  }
}
