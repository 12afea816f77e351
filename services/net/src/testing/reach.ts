import type { ProcessRunner } from "../host/process.ts";
import { inner } from "../slots/address-plan.ts";
import { sendFrames } from "./frames.ts";
import type { Guest } from "./guest.ts";
import type { Scene } from "./scene.ts";

// Replaced before each attack, which sets the counters to zero. Behind every rule of ours; nobody else talks on the ground.
const counters = `
table inet reach
delete table inet reach
table inet reach {
  counter left { }
  counter out { }
  counter taken { }
  chain arrival { type filter hook prerouting priority -350;
    iifname "lob-*" counter name left
  }
  chain postrouting { type filter hook postrouting priority 300;
    iifname "lob-*" counter name out
    oifname "lob-*" counter name out
  }
  chain input { type filter hook input priority 300;
    iifname "lob-*" counter name taken
  }
}
`;

/** Counts of what happened while `attack` ran. */
async function counted({ ground: { host } }: Scene, attack: () => Promise<unknown>): Promise<Record<string, number>> {
  await host.run(["nft", "-f", "-"], { input: counters });
  await attack();
  // Veth and forwarding are synchronous in the sender's softirq; one command later everything has arrived.
  const text = await host.run(["nft", "list", "counters", "table", "inet", "reach"]);
  const found = [...text.matchAll(/counter (\w+) \{\s+packets (\d+)/g)];
  return Object.fromEntries(found.map(([, name = "", packets]) => [name, Number(packets)]));
}

/** Packets that the host sent on for guests or to guests, or took in from them, while `attack` ran. */
export async function reached(scene: Scene, attack: () => Promise<unknown>): Promise<number> {
  const { out = Number.NaN, taken = Number.NaN } = await counted(scene, attack);
  return out + taken;
}

/** Sends frames from a guest; returns how many packets left its namespace, for wherever. */
export async function leftNamespace(scene: Scene, guest: Guest, frames: readonly Buffer[]): Promise<number> {
  const { left = Number.NaN } = await counted(scene, () => sendFrames(guest.runner, "eth0", frames));
  return left;
}

/** Sends frames from a guest; returns what they reached, answers to the guest among it. */
export async function reachedFromGuest(scene: Scene, guest: Guest, frames: readonly Buffer[]): Promise<number> {
  const before = await received(guest.runner);
  const count = await reached(scene, () => sendFrames(guest.runner, "eth0", frames));
  return count + (await received(guest.runner)) - before;
}

/** The same from inside the slot's namespace, behind its rules at the tap. */
export async function reachedFromSlot(scene: Scene, guest: Guest, frames: readonly Buffer[]): Promise<number> {
  return await reached(scene, () => sendFrames(guest.slot, inner.uplink, frames));
}

/** Frames that a link brought so far. */
export async function received(runner: ProcessRunner, link: string = "eth0"): Promise<number> {
  const text = await runner.run(["ip", "-s", "-j", "link", "show", "dev", link]);
  const links: Array<{ stats64?: { rx?: { packets?: number } } }> = JSON.parse(text);
  return links[0]?.stats64?.rx?.packets ?? Number.NaN;
}

/** Hardware address of a link. */
export async function linkMac(runner: ProcessRunner, link: string): Promise<string> {
  const links: Array<{ address?: string }> = JSON.parse(await runner.run(["ip", "-j", "link", "show", "dev", link]));
  return links[0]?.address ?? "";
}

export async function trackedCount(runner: ProcessRunner): Promise<number> {
  return Number(await runner.run(["conntrack", "-C"]));
}

/** Neighbours on a link that were learned rather than written down. */
export async function learned(runner: ProcessRunner, link: string): Promise<number> {
  const text = await runner.run(["ip", "-4", "neighbour", "show", "dev", link]);
  return text.split("\n").filter((line) => line !== "" && !line.includes("PERMANENT")).length;
}

/** How the guest's own frames are addressed, and those from inside its slot's namespace. */
export const guestFields = {
  destinationMac: inner.gatewayMac,
  sourceMac: inner.guestMac,
  source: inner.guestAddress,
} as const;

export function slotFields({ plan }: Guest): Record<keyof typeof guestFields, string> {
  return { destinationMac: plan.hostMac, sourceMac: plan.slotMac, source: plan.guestAddress };
}
