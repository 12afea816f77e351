import { z } from "zod";
import type { ProcessRunner } from "../host/process.ts";
import { linkPrefix, maxSlotCount, planSlot, slotOfName } from "./address-plan.ts";

const linksSchema = z.array(
  z.object({
    ifname: z.string(),
    flags: z.array(z.string()),
    address: z.string().optional(),
    addr_info: z.array(z.object({ local: z.string().optional(), prefixlen: z.number().optional() })).default([]),
  }),
);

const neighboursSchema = z.array(
  z.object({
    dev: z.string(),
    dst: z.string(),
    lladdr: z.string().optional(),
    state: z.array(z.string()).default([]),
  }),
);

/** Slots that have a link on the host, and whether it is complete: address, hardware address, neighbour and up. */
export type SlotLinks = ReadonlyMap<number, "complete" | "incomplete">;

/** Reads the host ends of all slots. */
export async function listSlotLinks(runner: ProcessRunner): Promise<SlotLinks> {
  const [links, neighbours] = await Promise.all([
    runner.run(["ip", "-j", "address", "show", "type", "veth"]),
    runner.run(["ip", "-j", "-4", "neighbour", "show", "nud", "permanent"]),
  ]);
  return readSlotLinks(links, neighbours);
}

/** Slots that have a link on the host, whatever it is like. Much cheaper than `listSlotLinks` where there are many. */
export async function listLinkedSlots(runner: ProcessRunner): Promise<ReadonlySet<number>> {
  return readLinkedSlots(await runner.run(["cat", "/proc/net/dev"]));
}

/** `devices`: `/proc/net/dev`. */
export function readLinkedSlots(devices: string): ReadonlySet<number> {
  const names = devices.split("\n").map((line) => /^\s*(\S+):/.exec(line)?.[1] ?? "");
  return new Set(names.map((name) => slotOfName(linkPrefix, name)).filter((slot) => slot !== undefined));
}

/** `links`: `ip -j address show`; `neighbours`: `ip -j neighbour show nud permanent`. */
export function readSlotLinks(links: string, neighbours: string): SlotLinks {
  const known = new Set(
    neighboursSchema.parse(readList(neighbours)).map(({ dev, dst, lladdr }) => `${dev} ${dst} ${lladdr}`),
  );
  const found = new Map<number, "complete" | "incomplete">();
  for (const link of linksSchema.parse(readList(links))) {
    const slot = slotOfName(linkPrefix, link.ifname);
    if (slot === undefined) continue;
    found.set(slot, isComplete(slot, link, known) ? "complete" : "incomplete");
  }
  return found;
}

function isComplete(slot: number, link: z.infer<typeof linksSchema>[number], neighbours: ReadonlySet<string>): boolean {
  if (slot >= maxSlotCount) return false;
  const plan = planSlot(slot);
  const addresses = link.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`);
  return (
    link.flags.includes("UP") &&
    link.address === plan.hostMac &&
    addresses.length === 1 &&
    addresses[0] === `${plan.hostAddress}/31` &&
    neighbours.has(`${plan.hostInterface} ${plan.guestAddress} ${plan.slotMac}`)
  );
}

// `ip -j` prints nothing at all, not even an empty list, when there is nothing to list.
function readList(text: string): unknown {
  return text.trim() === "" ? [] : JSON.parse(text);
}
