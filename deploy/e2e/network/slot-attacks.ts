import { deniedRanges } from "../../../services/net/src/firewall/ranges.ts";
import type { SlotPlan } from "../../../services/net/src/slots/address-plan.ts";
import { icmpError, ipv4Frame, type Path } from "../../../services/net/src/testing/packets.ts";
import {
  echoRequestFrame,
  forgedArpSenders,
  forgedSources,
  fragmentTricks,
  ipv6Frames,
  multicastFrames,
  optionFrames,
  protocols,
  synFrame,
  taggedFrames,
  tunnelFrames,
  udpFrame,
  unaskedReplies,
} from "../../../services/net/src/testing/tricks.ts";
import { uplink } from "../../dev/outside.ts";
import { fromSlot } from "./attacker.ts";
import { attackPort, echoPort, type Field, tracked } from "./field.ts";

/**
 * Frames from inside a slot's namespace, where somebody is who broke out of a VMM: the rules at the tap are behind him, and the host's
 * own must hold. Nothing may pass and nothing may come back.
 */
export interface SlotAttack {
  readonly control: string;
  readonly frames: (from: SlotPlan, field: Field) => Promise<readonly Buffer[]> | readonly Buffer[];
}

function to(from: SlotPlan, destination: string, port: number = attackPort): Path {
  return { ...fromSlot(from), destination, port };
}

function knocks(path: Path): Buffer[] {
  return [synFrame(path), udpFrame(path), echoRequestFrame(path)];
}

function victim({ attackers }: Field): SlotPlan {
  return attackers[1].plan;
}

/** Errors, as if a router had dropped them, about packets that travelled on the tracked connections between two addresses. */
async function errorsAbout(from: SlotPlan, field: Field, near: string, far: string): Promise<Buffer[]> {
  // Each line has the tuple of either direction; the last one names the ports as whoever answers sees them.
  const lines = await tracked(field.host, (line) => line.includes(` src=${near} dst=${far} `));
  const quotes = lines.flatMap((line) => {
    const [, source = "", destination = "", sourcePort, port] =
      /.* src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/.exec(line) ?? [];
    return source === "" ? [] : [{ source, destination, sourcePort: Number(sourcePort), port: Number(port) }];
  });
  if (quotes.length === 0) throw new Error(`the host tracks no connection from ${near} to ${far}`);
  return quotes.flatMap((quote) => {
    // To the host it quotes what the host sent, to the internet what the internet sent.
    const quoted = { ...to(from, far), ...(far === uplink.outsideAddress ? quote : reversed(quote)) };
    return [
      [3, 1],
      [3, 4],
      [11, 0],
    ].map(([type = 0, code = 0]) =>
      ipv4Frame(to(from, quoted.source), protocols.icmp, icmpError(type, code, quoted, protocols.tcp)),
    );
  });
}

interface Tuple {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly port: number;
}

function reversed({ source, destination, sourcePort, port }: Tuple): Tuple {
  return { source: destination, destination: source, sourcePort: port, port: sourcePort };
}

export const slotAttacks: Readonly<Record<string, SlotAttack>> = {
  "10,000 forged sources": {
    control: "NET-03",
    frames: (from) => forgedSources(to(from, uplink.outsideAddress), 10_000),
  },
  "300 forged ARP senders": {
    control: "NET-03",
    frames: (from) => forgedArpSenders(fromSlot(from), from.hostAddress, 300),
  },
  "denied ranges": {
    control: "NET-02",
    frames: (from) =>
      deniedRanges.flatMap((range) => {
        const path = to(from, range.replace(/\/.*/, "").replace(/0$/, "1"));
        return knocks(path);
      }),
  },
  "the host and other guests": {
    control: "NET-02",
    frames: (from, field) =>
      [uplink.address, from.hostAddress, victim(field).hostAddress, victim(field).guestAddress].flatMap((address) =>
        [443, 9000].flatMap((port) => knocks(to(from, address, port))),
      ),
  },
  "fragments and tunnels to another guest": {
    control: "NET-02",
    frames: (from, field) => {
      const path = to(from, victim(field).guestAddress, 9000);
      return [...fragmentTricks(path), ...tunnelFrames(path)];
    },
  },
  "IP options": {
    control: "NET-02",
    frames: (from, field) =>
      [victim(field).guestAddress, from.hostAddress].flatMap((address) =>
        optionFrames(to(from, address), victim(field).guestAddress),
      ),
  },
  "IPv6, tags and multicast": {
    control: "NET-06",
    frames: (from) => {
      const path = to(from, from.hostAddress);
      return [...ipv6Frames(path), ...taggedFrames(path), ...multicastFrames(path)];
    },
  },
  "replies that nobody asked for": {
    control: "NET-02",
    frames: (from) => [443, 7443, 40_000].flatMap((port) => unaskedReplies(to(from, from.hostAddress, port))),
  },
  "errors to the host about its connection with another guest": {
    control: "NET-02",
    frames: (from, field) => errorsAbout(from, field, victim(field).hostAddress, victim(field).guestAddress),
  },
  "errors to the internet about its connection with another guest": {
    control: "NET-02",
    async frames(from, field) {
      await field.attackers[1].hold({ host: uplink.outsideAddress, port: echoPort });
      return await errorsAbout(from, field, victim(field).guestAddress, uplink.outsideAddress);
    },
  },
};
