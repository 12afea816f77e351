import { inner } from "../slots/address-plan.ts";
import { datagramFrame, sendFrames } from "./frames.ts";
import { testConnectionLimit, world } from "./ground.ts";
import type { Guest } from "./guest.ts";
import { fromSlot, guestMacs, passed, ports, type Scene, slotMacs } from "./scene.ts";

/** More than a limit allows; each says by how much it was exceeded. */
export const floods = {
  async "flood of packets at the host"(scene: Scene) {
    // The usual limit: a burst of a hundred and what a second adds.
    const fields = { ...slotMacs(scene.first), source: scene.first.plan.guestAddress, destination: world.internet };
    const started = performance.now();
    const through = await fromSlot(
      scene,
      scene.first,
      Array(5000).fill(datagramFrame({ ...fields, port: 10_000 })),
      "raw",
    );
    return excess(through, 100 + (performance.now() - started));
  },
  async "flood of packets to a guest"(scene: Scene) {
    const started = performance.now();
    await scene.hostActor.burst(scene.first.plan.guestAddress, ports.counted, 5000);
    return excess(await scene.first.actor.counted(ports.counted), 100 + (performance.now() - started));
  },
  async "flood of new connections at the host"(scene: Scene) {
    // Few at a time, and forgotten after: it is the rate that holds them off, not their number.
    const frames = await connectionFlood(scene, testConnectionLimit);
    const started = performance.now();
    await passed(scene, "opened");
    for (let round = 0; round < 12; round += 1) {
      await fromSlot(scene, scene.second, frames, "raw");
      await forgetConnections(scene, scene.second);
    }
    const opened = await passed(scene, "opened");
    return excess(opened, 400 + (200 * (performance.now() - started)) / 1000);
  },
  async "flood of connections at the host"(scene: Scene) {
    const through = await fromSlot(
      scene,
      scene.second,
      await connectionFlood(scene, 3 * testConnectionLimit),
      "outside",
    );
    await forgetConnections(scene, scene.second);
    return excess(through, testConnectionLimit);
  },
  async "flood of connections to a guest"(scene: Scene) {
    await scene.hostActor.send(scene.second.plan.guestAddress, ports.counted, 3 * testConnectionLimit);
    await scene.second.actor.counted(ports.counted);
    const entries = Number(await scene.ground.host.run(["conntrack", "-C"]));
    await forgetConnections(scene, scene.second);
    return excess(entries, testConnectionLimit);
  },
  async "flood of connections in the namespace"(scene: Scene) {
    const fields = { ...guestMacs, source: inner.guestAddress, destination: world.internet };
    const frames = Array.from({ length: 3 * testConnectionLimit }, (_, at) =>
      datagramFrame({ ...fields, port: 10_000 + at }),
    );
    await sendFrames(scene.second.runner, "eth0", frames);
    const entries = Number(await scene.second.slot.run(["conntrack", "-C"]));
    await forgetConnections(scene, scene.second);
    return excess(entries, testConnectionLimit);
  },
} as const satisfies Record<string, (scene: Scene) => Promise<number>>;

/** How far `count` goes beyond what a limit allows, with a tenth for the moments between measuring and sending. */
function excess(count: number, allowed: number): number {
  return Math.max(0, Math.floor(count - allowed * 1.1));
}

/** Datagrams of a slot, each of a connection of its own. */
async function connectionFlood({ second }: Scene, count: number): Promise<Buffer[]> {
  const fields = { ...slotMacs(second), source: second.plan.guestAddress, destination: world.internet };
  return Array.from({ length: count }, (_, at) => datagramFrame({ ...fields, port: 10_000 + at }));
}

async function forgetConnections({ ground }: Scene, guest: Guest): Promise<void> {
  await ground.host.run(["conntrack", "-F"]);
  await guest.slot.run(["conntrack", "-F"]);
}
