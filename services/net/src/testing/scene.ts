import type { AdmittedNetwork } from "../firewall/tenant-elements.ts";
import type { NetworkStack } from "../network-stack.ts";
import { inner } from "../slots/address-plan.ts";
import { sendFrames } from "./frames.ts";
import { type Actor, type Ground, makeGround, unlimited, usual, world } from "./ground.ts";
import { type Guest, plugGuest } from "./guest.ts";

/**
 * Everything an attack can use: the tenants of `sceneNetworks`, and a slot that has links and no elements. The first has the usual
 * limits, the second has none, the third may reach one port of one address.
 */
export interface Scene {
  readonly ground: Ground;
  readonly stack: NetworkStack;
  readonly first: Guest;
  readonly second: Guest;
  readonly listed: Guest;
  readonly absent: Guest;
  readonly hostActor: Actor;
  readonly internetActor: Actor;
  readonly lanActor: Actor;
}

/** The tenants of the scene: two with the internet, the second as fast as it likes, and one with a list. */
export const sceneNetworks: readonly AdmittedNetwork[] = [
  { slot: 0, ...usual },
  { slot: 1, ...unlimited },
  {
    slot: 2,
    limits: usual.limits,
    egress: { mode: "list", rules: [{ cidr: `${world.internet}/32`, port: 9000, protocol: "tcp" }] },
  },
];

/** What passed, counted behind our rules by tables of the test's own. */
const probes = `
table inet probe {
  counter arrived { }
  counter raw { }
  counter ipv6 { }
  counter input { }
  counter outside { }
  counter unmasked { }
  counter opened { }
  chain arrival { type filter hook prerouting priority -350;
    iifname "lob-*" counter name arrived
  }
  chain prerouting { type filter hook prerouting priority -290;
    iifname "lob-*" counter name raw
    iifname "lob-*" meta nfproto ipv6 counter name ipv6
  }
  chain input { type filter hook input priority 10;
    iifname "lob-*" meta l4proto { udp, icmp } counter name input
  }
  chain forwarded { type filter hook forward priority 10;
    iifname "lob-*" ct state new counter name opened
  }
  chain postrouting { type filter hook postrouting priority 200;
    oifname != "lob-*" meta nfproto ipv4 counter name outside
    oifname != "lob-*" ip saddr 10.0.0.0/8 counter name unmasked
  }
}
`;

export const ports = { counted: 7001, echo: 9000 } as const;
/** How often something is sent that one packet would do for. */
export const repeats = 5;

/** A ground with its tenants. Remove the ground when done. */
export async function setScene(): Promise<Scene> {
  const ground = await makeGround();
  try {
    const stack = await ground.openStack();
    await stack.pool.fill(new AbortController().signal);
    for (const { slot, egress, limits } of sceneNetworks)
      await stack.networks.attach({ vmId: String(slot).repeat(32), slot, egress, limits });
    return await populate(ground, stack);
  } catch (error) {
    await ground.remove();
    throw error;
  }
}

async function populate(ground: Ground, stack: NetworkStack): Promise<Scene> {
  await ground.host.run(["nft", "-f", "-"], { input: probes });
  const actors = { hostActor: await ground.actor("host"), internetActor: await ground.actor("internet") };
  const lanActor = await ground.actor("lan");
  const guests = { first: await plugGuest(ground, 0), second: await plugGuest(ground, 1) };
  const [listed, absent] = [await plugGuest(ground, 2), await plugGuest(ground, 3)];
  const scene: Scene = { ground, stack, ...guests, listed, absent, lanActor, ...actors };
  const everyone = [...Object.values(actors), lanActor, ...Object.values(guests).map(({ actor }) => actor)];
  for (const actor of [...everyone, listed.actor, absent.actor]) {
    await actor.count(ports.counted);
    await actor.listen(ports.echo);
  }
  await actors.internetActor.listen(53);
  await actors.internetActor.count(53);
  return scene;
}

/** Packets since the last call that passed counter `name`. */
export async function passed({ ground }: Scene, name: string): Promise<number> {
  const text = await ground.host.run(["nft", "reset", "counter", "inet", "probe", name]);
  return Number(/packets (\d+)/.exec(text)?.[1] ?? Number.NaN);
}

/** Sends frames from a guest and returns how many left its namespace. */
export async function fromGuest(scene: Scene, guest: Guest, frames: readonly Buffer[]): Promise<number> {
  await passed(scene, "arrived");
  await sendFrames(guest.runner, "eth0", frames);
  return await settled(scene, "arrived");
}

/** Sends frames from inside the slot's namespace, behind its rules, and returns how many got past the host's counter. */
export async function fromSlot(
  scene: Scene,
  guest: Guest,
  frames: readonly Buffer[],
  counter: string,
): Promise<number> {
  await passed(scene, counter);
  await sendFrames(guest.slot, inner.uplink, frames);
  return await settled(scene, counter);
}

/** Packets that passed `counter`. Veth and forwarding are synchronous in the sender's softirq; one command later everything has arrived. */
export async function settled(scene: Scene, counter: string): Promise<number> {
  await scene.ground.host.run(["true"]);
  return await passed(scene, counter);
}

export function many(frame: Buffer): Buffer[] {
  return Array.from({ length: repeats }, () => frame);
}

export const guestMacs = { destinationMac: inner.gatewayMac, sourceMac: inner.guestMac };

export function slotMacs({ plan }: Guest): { destinationMac: string; sourceMac: string } {
  return { destinationMac: plan.hostMac, sourceMac: plan.slotMac };
}
