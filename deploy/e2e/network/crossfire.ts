import { inner } from "../../../services/net/src/slots/address-plan.ts";
import { arpFrame, ipv4Frame, type Path } from "../../../services/net/src/testing/packets.ts";
import {
  echoRequestFrame,
  ipv6Frames,
  multicastFrames,
  protocols,
  rawProtocol,
  synFrame,
  udpFrame,
} from "../../../services/net/src/testing/tricks.ts";
import { type Attacker, fromGuest } from "./attacker.ts";
import { acceptedByHost, type Field, isOrdinary, total } from "./field.ts";
import type { Sighting } from "./sniffer.ts";

interface CrossProtocol {
  readonly frames: (path: Path) => readonly Buffer[];
  /** Whether a sighting at the attacker's tap is of this protocol. */
  readonly is: (sighting: Sighting) => boolean;
  /** Whether the frames name their victim; the others are for whoever hears them. */
  readonly isAddressed: boolean;
}

function isIpv4(protocol: number): (sighting: Sighting) => boolean {
  return (sighting) => sighting.kind === "ipv4" && sighting.protocol === protocol && !isMulticast(sighting);
}

function isMulticast({ destination }: Sighting): boolean {
  return Number(destination.split(".")[0]) >= 224;
}

/** The seven of REL-9. */
export const crossProtocols: Readonly<Record<string, CrossProtocol>> = {
  TCP: { frames: (path) => [synFrame(path)], is: isIpv4(protocols.tcp), isAddressed: true },
  UDP: { frames: (path) => [udpFrame(path)], is: isIpv4(protocols.udp), isAddressed: true },
  ICMP: { frames: (path) => [echoRequestFrame(path)], is: isIpv4(protocols.icmp), isAddressed: true },
  "raw IP": {
    frames: (path) => [ipv4Frame(path, rawProtocol, Buffer.alloc(24))],
    is: isIpv4(rawProtocol),
    isAddressed: true,
  },
  ARP: {
    frames: (path) => {
      const broadcast = { ...path, destinationMac: "ff:ff:ff:ff:ff:ff" };
      const asks = { ...broadcast, senderMac: inner.guestMac, sender: inner.guestAddress, target: path.destination };
      return [arpFrame({ ...asks, operation: 1 }), arpFrame({ ...asks, operation: 2 })];
    },
    is: ({ kind }) => kind === "arp",
    isAddressed: true,
  },
  IPv6: { frames: ipv6Frames, is: ({ kind }) => kind === "other", isAddressed: false },
  multicast: {
    frames: (path) => multicastFrames(path).slice(0, 4),
    is: (sighting) => sighting.kind === "ipv4" && isMulticast(sighting),
    isAddressed: false,
  },
};

export interface Crossfire {
  readonly rounds: number;
  /** Frames of a protocol that came out of a guest for a victim. */
  attempts(protocol: string, from: Attacker, victim: Attacker): number;
  /** Frames of whatever kind that went out to a victim's slot and were none of the stack's. */
  reached(victim: Attacker): number;
  /** The same of every link of the host. */
  readonly sent: readonly Sighting[];
  readonly accepted: number;
}

/** Every guest attacks every other by every protocol, again and again until `end` settles. */
export async function crossfire(field: Field, end: Promise<unknown>): Promise<Crossfire> {
  const slots = await Promise.all(field.attackers.map(({ plan }) => field.slotVantage(plan.slot)));
  const witnesses = [field.host, ...slots];
  await Promise.all(witnesses.map(({ sniffer }) => sniffer.take()));
  await acceptedByHost(field);
  const sent: Sighting[] = [];
  const emitted = new Map<string, Sighting[]>(field.attackers.map(({ name }) => [name, []]));
  let ended = false;
  // What the churn came to is its owner's to say.
  void end
    .catch(() => undefined)
    .finally(() => {
      ended = true;
    });
  let rounds = 0;
  for (; !ended || rounds === 0; rounds++) {
    await Promise.all(field.attackers.map((attacker) => attacker.send(framesOf(field, attacker))));
    for (const [at, attacker] of field.attackers.entries()) {
      const seen = (await slots[at]?.sniffer.take()) ?? [];
      const out = seen.filter(({ link, direction }) => link === inner.tap && direction === "in");
      emitted.get(attacker.name)?.push(...out.filter((one) => !isOrdinary(one)));
    }
    const seen = await field.host.sniffer.take();
    sent.push(...seen.filter((one) => one.direction === "out" && !isOrdinary(one)));
  }
  return {
    rounds,
    sent,
    accepted: await acceptedByHost(field),
    attempts(protocol, from, { plan }) {
      const { is, isAddressed } = crossProtocols[protocol] ?? { is: () => false, isAddressed: false };
      const ofProtocol = (emitted.get(from.name) ?? []).filter(is);
      return total(
        isAddressed ? ofProtocol.filter(({ destination }) => destination === plan.guestAddress) : ofProtocol,
      );
    },
    reached: ({ plan }) => total(sent.filter(({ link }) => link === plan.hostInterface)),
  };
}

function framesOf({ attackers }: Field, attacker: Attacker): Buffer[] {
  const victims = attackers.filter((one) => one !== attacker);
  return victims.flatMap(({ plan }) => {
    const path = { ...fromGuest, destination: plan.guestAddress, port: 9000 };
    return Object.values(crossProtocols).flatMap(({ frames }) => frames(path));
  });
}
