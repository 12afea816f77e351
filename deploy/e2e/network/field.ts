/**
 * Four attackers in real guests, and witnesses that see what the links carry whatever the rules say. Nothing on the field
 * talks but the stack itself, in the few ways that `isOrdinary` lists: every other packet that the host sends anywhere, or takes in
 * from a guest, got through where it must not.
 */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import {
  inner,
  linkPrefix,
  planSlot,
  type SlotPlan,
  slotOfName,
} from "../../../services/net/src/slots/address-plan.ts";
import { uplink } from "../../dev/outside.ts";
import { env, evict } from "../subject.ts";
import { type Attacker, bootAttacker } from "./attacker.ts";
import type { Sighting } from "./sniffer.ts";
import { type Actor, openVantage, startActor, type Vantage } from "./vantage.ts";

/** Echoes by TCP and UDP, in the instance's namespace and outside. */
export const echoPort = 7007;
/** Nothing listens there; it marks what attacks send. */
export const attackPort = 7001;

export interface Field {
  readonly attackers: readonly [Attacker, Attacker, Attacker, Attacker];
  readonly host: Vantage;
  readonly outside: Vantage;
  readonly hostActor: Actor;
  readonly outsideActor: Actor;
  slotVantage(slot: number): Promise<Vantage>;
  close(): Promise<void>;
}

/** What came of an attack. All but `attempted` must be empty. */
export interface Outcome {
  /** Frames that the attacker's link carried: an attack that was never made proves nothing. */
  readonly attempted: number;
  /** What the host sent, out of whatever link, and what arrived outside. */
  readonly sent: readonly Sighting[];
  /** Packets from guests that passed the host's input rules, other than segments of the host's own connections. */
  readonly accepted: number;
  /** What the attacker's link brought back. */
  readonly answers: readonly Sighting[];
}

/** Where an attack begins. */
export interface Origin {
  readonly vantage: Vantage;
  readonly link: string;
  readonly direction: Sighting["direction"];
}

const guestPorts = [9000, 7443];
const tcp = 6;
const arrivalLimitMs = 15_000;
const quietMs = 100;
const names = ["attacker-1", "attacker-2", "attacker-3", "attacker-4"] as const;

// Behind every rule of ours. A guest has nothing to say to the host but in reply, and nobody here gets an ICMP reply from one.
const counters = `
table inet witness {
  counter accepted { }
  chain input { type filter hook input priority 100;
    iifname "${linkPrefix}*" meta l4proto tcp ct direction reply return
    iifname "${linkPrefix}*" counter name accepted
  }
}
`;

export async function openField(): Promise<Field> {
  const hostPath = `/run/netns/${env.LOBSTERD_NETNS}`;
  const outsidePath = `/run/netns/${env.LOBSTERD_OUTSIDE_NETNS}`;
  const actors: Actor[] = [];
  const vantages = new Map<string, Promise<Vantage>>();
  const vantage = (path: string): Promise<Vantage> => {
    const known = vantages.get(path) ?? openVantage(path);
    vantages.set(path, known);
    return known;
  };
  const actor = async (path: string): Promise<Actor> => {
    const started = await startActor(path);
    actors.push(started);
    await started.echo({ port: echoPort });
    return started;
  };
  const host = await vantage(hostPath);
  const close = async (): Promise<void> => {
    await Promise.all(actors.map((one) => one.close()));
    await Promise.all([...vantages.values()].map(async (one) => (await one).sniffer.stop()));
    await host.runner.run(["nft", "delete", "table", "inet", "witness"]);
    await Promise.all(names.map((name) => evict(name)));
  };
  await host.runner.run(["nft", "-f", "-"], { input: counters });
  try {
    const [first, second, third, fourth] = names;
    return {
      attackers: await Promise.all([
        bootAttacker(first),
        bootAttacker(second),
        bootAttacker(third),
        bootAttacker(fourth),
      ]),
      host,
      outside: await vantage(outsidePath),
      hostActor: await actor(hostPath),
      outsideActor: await actor(outsidePath),
      slotVantage: (slot) => vantage(`${env.LOBSTERD_RUN_DIR}/netns/slot-${slot}`),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The tap of an attacker, where its guest's frames come out. */
export async function tapOf(field: Field, { plan }: Attacker): Promise<Origin> {
  return { vantage: await field.slotVantage(plan.slot), link: inner.tap, direction: "in" };
}

/** A slot on the host's side, where everything that leaves its namespace comes out. */
export function linkOf(field: Field, { hostInterface }: SlotPlan): Origin {
  return { vantage: field.host, link: hostInterface, direction: "in" };
}

/** Runs `attack`, waits until `expected` frames of it came out of `origin` and everything is quiet, and tells what got where. */
export async function measure(
  field: Field,
  origin: Origin,
  expected: number,
  attack: () => Promise<unknown>,
): Promise<Outcome> {
  const { vantage, link, direction } = origin;
  const witnesses = [...new Set([vantage, field.host, field.outside])];
  const lists = await Promise.all(witnesses.map(({ sniffer }) => sniffer.take()));
  assert.equal(lists.length, witnesses.length);
  await acceptedByHost(field);
  await attack();
  const seen = new Map<Vantage, Sighting[]>(witnesses.map((one) => [one, []]));
  const deadline = performance.now() + arrivalLimitMs;
  for (let quiet = false; !quiet; ) {
    await delay(quietMs);
    let news = 0;
    for (const [witness, list] of seen) {
      const latest = (await witness.sniffer.take()).filter((sighting) => !isOrdinary(sighting));
      list.push(...latest);
      news += total(latest);
    }
    const enough = total(at(seen.get(vantage), link, direction)) >= expected;
    quiet = (news === 0 && enough) || performance.now() > deadline;
  }
  const back = direction === "in" ? "out" : "in";
  const onHost = (seen.get(field.host) ?? []).filter((one) => one.direction === "out");
  const arrived = at(seen.get(field.outside), uplink.outsideLink, "in");
  return {
    attempted: total(at(seen.get(vantage), link, direction)),
    sent: vantage === field.outside ? onHost : [...onHost, ...arrived],
    accepted: await acceptedByHost(field),
    answers: at(seen.get(vantage), link, back),
  };
}

/** Asserts that an attack was made, `expected` frames at least, and that nothing of it got anywhere. */
export function assertNothingPassed(outcome: Outcome, expected: number): void {
  assert.ok(outcome.attempted >= expected, `${outcome.attempted} of ${expected} frames left the attacker`);
  const { sent, accepted: taken, answers } = outcome;
  assert.deepEqual({ sent, accepted: taken, answers }, { sent: [], accepted: 0, answers: [] });
}

function at(list: readonly Sighting[] | undefined, link: string, direction: Sighting["direction"]): Sighting[] {
  return (list ?? []).filter((one) => one.link === link && one.direction === direction);
}

export function total(list: readonly Sighting[]): number {
  return list.reduce((sum, { count }) => sum + count, 0);
}

/** Connections that the host tracks and that match. */
export async function tracked({ runner }: Vantage, matches: (line: string) => boolean): Promise<string[]> {
  const text = await runner.run(["conntrack", "-L"], { maxOutputBytes: 64 * 1024 * 1024 });
  return text.split("\n").filter((line) => line !== "" && matches(line));
}

/** Neighbours that a namespace learned of by ARP from somebody other than the outside. */
export async function learnedNeighbours({ runner }: Vantage): Promise<string[]> {
  const text = await runner.run(["ip", "-4", "neighbour", "show"]);
  const lines = text.split("\n").filter((line) => line !== "" && !line.includes("PERMANENT"));
  return lines.filter((line) => !line.includes(` dev ${uplink.link} `));
}

/** Packets from guests that the host took in since the last call, against its rules. */
export async function acceptedByHost({ host }: Field): Promise<number> {
  const text = await host.runner.run(["nft", "reset", "counter", "inet", "witness", "accepted"]);
  return Number(/packets (\d+)/.exec(text)?.[1] ?? Number.NaN);
}

/** The talk of the stack: `vm`, `secrets` and Caddy with guests, guests and gateways, the host and its neighbour about addresses. */
export function isOrdinary(sighting: Sighting): boolean {
  const { link, kind, protocol, source, destination, sourcePort, destinationPort } = sighting;
  if (kind === "arp") {
    const between = [source, destination].sort().join(" ");
    if (link === inner.tap) return between === `${inner.gatewayAddress} ${inner.guestAddress}`;
    return between === `${uplink.address} ${uplink.outsideAddress}`;
  }
  if (kind !== "ipv4" || protocol !== tcp) return false;
  const slot = slotOfName(linkPrefix, link);
  const guest = slot === undefined ? inner.guestAddress : planSlot(slot).guestAddress;
  const isHost = (address: string) =>
    slot === undefined ? address.startsWith("10.201.") : address === planSlot(slot).hostAddress;
  const toGuest = isHost(source) && destination === guest && guestPorts.includes(destinationPort);
  const fromGuest = source === guest && isHost(destination) && guestPorts.includes(sourcePort);
  return toGuest || fromGuest;
}
