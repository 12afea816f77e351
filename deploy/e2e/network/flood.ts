import { setTimeout as delay } from "node:timers/promises";
import { inner } from "../../../services/net/src/slots/address-plan.ts";
import { uplink } from "../../dev/outside.ts";
import type { Outcome } from "../../guest/probe/sockets.ts";
import type { Attacker } from "./attacker.ts";
import { echoPort, type Field, tracked } from "./field.ts";

export interface FloodResult {
  /** Most open connections of the guest that were tracked at once, by the host and by its slot. */
  readonly mostOnHost: number;
  readonly mostInSlot: number;
  /** What the connection answered that was there before, during the flood and after. */
  readonly held: readonly Outcome[];
  /** What another guest's hundred connections came to meanwhile. */
  readonly others: readonly Outcome[];
}

const count = 5000;
const target = { host: uplink.outsideAddress, port: echoPort } as const;

/** So many flows that the flood is on. */
export const duringFlood = 400;

/** What is closed is remembered for a while and is no flow of the flood's: that has an attack of its own in `net`. */
function isOpenFrom(source: string): (line: string) => boolean {
  return (line) => line.includes(` src=${source} dst=${target.host} `) && !/ (CLOSE|TIME_WAIT) /.test(line);
}

/** One guest opens 5,000 connections and as many UDP flows, and keeps them open. */
export async function flood(field: Field, attacker: Attacker, other: Attacker): Promise<FloodResult> {
  const slot = await field.slotVantage(attacker.plan.slot);
  const held: Outcome[] = [await attacker.hold(target)];
  let flooding = true;
  const flows = Promise.all(
    (["tcp", "udp"] as const).map((protocol) => attacker.flood({ protocol, ...target, count, holdMs: 4000 })),
  ).finally(() => {
    flooding = false;
  });
  const targets = Array.from({ length: 100 }, () => ({ protocol: "tcp", ...target }) as const);
  const connecting = other.connect({ targets, concurrency: 10, timeoutMs: 5000 });
  let [mostOnHost, mostInSlot] = [0, 0];
  while (flooding) {
    const onHost = await tracked(field.host, isOpenFrom(attacker.plan.guestAddress));
    const inSlot = await tracked(slot, isOpenFrom(inner.guestAddress));
    [mostOnHost, mostInSlot] = [Math.max(mostOnHost, onHost.length), Math.max(mostInSlot, inSlot.length)];
    if (held.length === 1 && onHost.length > duringFlood) held.push(await attacker.use());
    await delay(200);
  }
  await flows;
  held.push(await attacker.use());
  return { mostOnHost, mostInSlot, held, others: await connecting };
}
