import { linkPrefix, planSlot, tableName } from "../slots/address-plan.ts";
import type { Chain, NftSet, Rule, Ruleset } from "./ruleset.ts";

export interface HostRulesetOptions {
  /** The one link that guests may reach the outside through; without it no guest reaches anything but by reply. */
  readonly uplinkInterface?: string | undefined;
  /** New connections of a guest are dropped while it has this many. */
  readonly connectionLimit: number;
  readonly slotCount: number;
  /** Slots whose guest is admitted. */
  readonly slots: readonly number[];
}

/** Sets whose elements are the tenants. */
export const tenantSets = ["guests", "reachable"] as const;
export type TenantSet = (typeof tenantSets)[number];

/** What makes a slot a tenant's: one element in each set. An interface without them reaches nothing and is not reached. */
export function elementsOf(slot: number): Readonly<Record<TenantSet, string>> {
  const { hostInterface, slotMac, guestAddress } = planSlot(slot);
  return {
    guests: `"${hostInterface}" . ${slotMac} . ${guestAddress}`,
    reachable: `"${hostInterface}" . ${guestAddress}`,
  };
}

/** NET-02: private, shared, link-local, documentation, benchmark, multicast and reserved ranges, and a cloud's platform address. */
export const denied = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "168.63.129.16",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3",
] as const;

const ours = `"${linkPrefix}*"`;

/**
 * The ruleset of the host side. It never changes with a tenant but in the elements of `tenantSets`. Base chains come at
 * `filter - 10`, before the host's own filter chains, and end with accept for everybody else's links: what
 * the host's own rules say about those stays true.
 */
export function hostRuleset(options: HostRulesetOptions): Ruleset {
  return [
    { family: "inet", name: tableName, sets: sets(options), chains: inetChains(options) },
    {
      family: "arp",
      name: tableName,
      sets: [],
      chains: [
        base("LOBSTER-ARP", "filter hook input priority filter - 10", [
          // Both ends of the link have permanent neighbour entries: nothing there ever needs to ask.
          rule("arp-from-guest", "NET-03", `iifname ${ours} counter drop`),
        ]),
      ],
    },
  ];
}

function inetChains(options: HostRulesetOptions): Chain[] {
  return [
    // Raw comes after reassembly and before connection tracking: a fragment cannot dodge it, a forged packet leaves no entry.
    base("LOBSTER-RAW", "filter hook prerouting priority raw", [
      rule("from-guest-raw", "NET-03", `iifname ${ours} jump GUEST-RAW`),
    ]),
    {
      name: "GUEST-RAW",
      rules: [
        rule("not-ipv4", "NET-06", "meta nfproto != ipv4 counter drop"),
        rule("spoofed", "NET-03", "iifname . ether saddr . ip saddr != @guests counter drop"),
      ],
    },
    base("LOBSTER-INPUT", "filter hook input priority filter - 10", [
      rule("not-from-guest", "NET-02", `iifname != ${ours} accept`),
      rule("reply", "NET-02", "ct state established ct direction reply accept"),
      // A related redirect would change the host's routes, so only errors are let in.
      rule(
        "error-reply",
        "NET-02",
        "ct state related ct direction reply icmp type { destination-unreachable, time-exceeded, parameter-problem } accept",
      ),
      rule("guest-to-host", "NET-02", "counter drop"),
    ]),
    base("LOBSTER-FORWARD", "filter hook forward priority filter - 10", [
      rule("from-guest", "NET-02", `iifname ${ours} jump FROM-GUEST`),
      rule("to-guest", "NET-02", `oifname ${ours} jump TO-GUEST`),
    ]),
    { name: "FROM-GUEST", rules: fromGuest(options) },
    {
      name: "TO-GUEST",
      rules: [
        rule("answer-to-guest", "NET-05", "ct state established,related ct direction reply accept"),
        rule("outside-to-guest", "NET-05", "counter drop"),
      ],
    },
    // Covers what the host itself sends as well as what it forwards; the cut of a removed tenant works in both directions.
    base("LOBSTER-OUTPUT", "filter hook postrouting priority filter - 10", [
      rule("not-to-guest", "NET-02", `oifname != ${ours} accept`),
      rule("admitted", "NET-02", "oifname . ip daddr @reachable accept"),
      rule("to-absent-guest", "NET-02", "counter drop"),
    ]),
    ...masquerade(options.uplinkInterface),
  ];
}

function fromGuest({ uplinkInterface, connectionLimit }: HostRulesetOptions): Rule[] {
  const outside =
    uplinkInterface === undefined ? [] : [rule("to-outside", "NET-02", `oifname "${uplinkInterface}" accept`)];
  return [
    rule("guest-to-guest", "NET-02", `oifname ${ours} counter drop`),
    rule("denied-range", "NET-02", "ip daddr @denied counter drop"),
    rule("invalid", "NET-04", "ct state invalid counter drop"),
    // Counted by interface, since that is what a guest cannot choose, and only when new, so that a full table cuts nobody off.
    rule(
      "too-many-connections",
      "NET-04",
      `ct state new add @connections { iifname ct count over ${connectionLimit} } counter drop`,
    ),
    ...outside,
    rule("no-way-out", "NET-02", "counter drop"),
  ];
}

function masquerade(uplinkInterface: string | undefined): Chain[] {
  if (uplinkInterface === undefined) return [];
  const text = `iifname ${ours} oifname "${uplinkInterface}" masquerade`;
  return [
    {
      name: "LOBSTER-MASQUERADE",
      base: "type nat hook postrouting priority srcnat; policy accept;",
      rules: [rule("masquerade", "NET-02", text)],
    },
  ];
}

function sets({ slots, slotCount }: HostRulesetOptions): NftSet[] {
  const elements = slots.map(elementsOf);
  const size = `size ${slotCount}`;
  return [
    {
      name: "guests",
      properties: ["type ifname . ether_addr . ipv4_addr", size],
      elements: elements.map(({ guests }) => guests),
    },
    {
      name: "reachable",
      properties: ["type ifname . ipv4_addr", size],
      elements: elements.map(({ reachable }) => reachable),
    },
    { name: "connections", properties: ["type ifname", size, "flags dynamic"], elements: [] },
    { name: "denied", properties: ["type ipv4_addr", "flags interval", "auto-merge"], elements: denied },
  ];
}

function base(name: string, hook: string, rules: readonly Rule[]): Chain {
  return { name, base: `type ${hook}; policy accept;`, rules };
}

function rule(id: string, control: string, text: string): Rule {
  return { id, control, text };
}
