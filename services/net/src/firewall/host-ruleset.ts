import { linkPrefix, outerRange, tableName } from "../slots/address-plan.ts";
import { type DropReason, dropReasons, markOf } from "./drop-reasons.ts";
import { resolverPorts } from "./egress.ts";
import { deniedRanges } from "./ranges.ts";
import { type Chain, type NftSet, opens, type Rule, type Ruleset } from "./ruleset.ts";
import { elementText } from "./set-element.ts";
import { type AdmittedNetwork, elementsOf, maxDestinations, type TenantSet } from "./tenant-elements.ts";

export interface HostRulesetOptions {
  /** The one link that guests may reach the outside through; without it no guest reaches anything but by reply. */
  readonly uplinkInterface?: string | undefined;
  /** IPv4 addresses of the only DNS servers that guests reach. */
  readonly resolverAddresses: readonly string[];
  /** New connections of a guest, and to a guest, are dropped while it has this many in that direction. */
  readonly connectionLimit: number;
  readonly slotCount: number;
  readonly networks: readonly AdmittedNetwork[];
}

const ours = `"${linkPrefix}*"`;
const denied = `{ ${deniedRanges.join(", ")} }`;
const resolving = `{ ${resolverPorts.join(", ")} }`;

/**
 * The ruleset of the host side. It never changes with a tenant but in the elements of the tenants' sets. Its rules:
 *
 * 1. Base chains come at `filter - 10`, before the host's own filter chains. Each lets everybody else's packets through by a rule
 *    at its beginning and drops by policy, so a rule that somebody deletes closes something and never opens it.
 * 2. What a guest may do is said by rules that accept, each with every condition it needs. The rules that drop before them only
 *    give the reason.
 * 3. A tenant's packet that is dropped is counted by link and reason.
 */
export function hostRuleset(options: HostRulesetOptions): Ruleset {
  return [
    { family: "inet", name: tableName, sets: sets(options), chains: inetChains(options) },
    {
      family: "arp",
      name: tableName,
      sets: [],
      chains: [
        {
          name: "LOBSTER-ARP",
          base: "type filter hook input priority filter - 10; policy accept;",
          // Both ends of the link have permanent neighbour entries: nothing there ever needs to ask.
          rules: [rule("arp-from-guest", "NET-03", `iifname ${ours} counter drop`)],
        },
      ],
    },
  ];
}

function inetChains(options: HostRulesetOptions): Chain[] {
  return [
    counting("DROP-FROM-GUEST", "iifname"),
    counting("DROP-TO-GUEST", "oifname"),
    // Raw comes after reassembly and before connection tracking: a fragment cannot dodge it, a forged packet leaves no entry.
    base("LOBSTER-RAW", "prerouting priority raw", [
      rule("raw-of-others", "NET-02", `iifname != ${ours} accept`),
      // Not counted by link: there is nobody to count it for.
      rule("absent-sender", "NET-02", "iifname != @sending counter drop"),
      drop("not-ipv4", "NET-06", "meta nfproto != ipv4"),
      // They make routers on the way write addresses into the packet, and guests have no use for them.
      drop("ip-options", "NET-06", "ip hdrlength != 5"),
      drop("spoofed", "NET-03", "iifname . ether saddr . ip saddr != @guests"),
      rule("sending", "NET-07", "iifname . ether saddr . ip saddr @guests iifname @sending accept"),
      drop("sent-packets", "NET-07"),
    ]),
    base("LOBSTER-INPUT", "input priority filter - 10", [
      rule("input-of-others", "NET-02", `iifname != ${ours} accept`),
      rule("reply", "NET-02", "ct state established ct direction reply accept"),
      // A related redirect would change the host's routes, so only errors are let in; and an error is related to whatever connection
      // it quotes, so only about a connection with the guest that it comes from.
      rule(
        "error-reply",
        "NET-02",
        "ct state related ct direction reply iifname . ct reply ip saddr @reachable icmp type { destination-unreachable, time-exceeded, parameter-problem } accept",
      ),
      drop("guest-to-host", "NET-02"),
    ]),
    base("LOBSTER-FORWARD", "forward priority filter - 10", [
      rule("forward-of-others", "NET-02", `iifname != ${ours} oifname != ${ours} accept`),
      rule("from-guest", "NET-02", `iifname ${ours} goto FROM-GUEST`),
      rule("answer-to-guest", "NET-05", "ct state established,related ct direction reply accept"),
      drop("outside-to-guest", "NET-05", "", "DROP-TO-GUEST"),
    ]),
    ...fromGuest(options),
    // Covers what the host itself sends as well as what it forwards; the cut of a removed tenant works in both directions.
    base("LOBSTER-OUTPUT", "postrouting priority filter - 10", [
      // While a slot's link is made anew, the default route would take what the host sends to its guest.
      rule("guest-by-other-link", "NET-02", `oifname != ${ours} oifname != "lo" ip daddr ${outerRange} counter drop`),
      rule("output-of-others", "NET-02", `iifname != ${ours} oifname != ${ours} accept`),
      // Asked again, whatever let the packet be forwarded and sharing nothing with it: a guest's leaves by the uplink or not at all.
      ...outside(options).map((link) => rule("leaving", "NET-02", `iifname ${ours} ${link} accept`)),
      rule("other-link", "NET-02", `iifname ${ours} counter drop`),
      rule("absent-guest", "NET-02", "oifname . ip daddr != @reachable counter drop"),
      // What the host would say of a fragment whose rest never came.
      drop("invalid-to-guest", "NET-02", "meta l4proto icmp ct state invalid", "DROP-TO-GUEST"),
      drop(
        "too-many-inbound",
        "NET-04",
        `${opens} add @inbound { oifname ct count over ${options.connectionLimit} }`,
        "DROP-TO-GUEST",
      ),
      rule("receiving", "NET-07", "oifname . ip daddr @reachable oifname @receiving accept"),
      drop("received-packets", "NET-07", "", "DROP-TO-GUEST"),
    ]),
    ...masquerade(options.uplinkInterface),
  ];
}

/** Every packet of a guest that is to leave the host, not only a connection's first: a policy that changes cuts what it forbids. */
function fromGuest(options: HostRulesetOptions): Chain[] {
  const { resolverAddresses, connectionLimit } = options;
  const notForResolvers = `th dport != ${resolving}`;
  const resolvers = resolverAddresses.length === 0 ? [] : [`ip daddr { ${resolverAddresses.join(", ")} }`];
  return [
    {
      name: "FROM-GUEST",
      rules: [
        drop("guest-to-guest", "NET-02", `oifname ${ours}`),
        drop("invalid", "NET-04", "ct state invalid"),
        ...resolvers.map((address) =>
          rule(
            "resolver",
            "NET-08",
            `meta l4proto { tcp, udp } th dport ${resolving} ${address} iifname @resolving goto OPEN`,
          ),
        ),
        drop("other-resolver", "NET-08", `meta l4proto { tcp, udp } th dport ${resolving}`),
        drop("denied-range", "NET-02", `ip daddr ${denied}`),
        rule(
          "internet",
          "NET-02",
          `meta l4proto { tcp, udp } ${notForResolvers} ip daddr != ${denied} iifname @internet goto OPEN`,
        ),
        rule("internet-icmp", "NET-02", `meta l4proto icmp ip daddr != ${denied} iifname @internet goto OPEN`),
        rule(
          "listed",
          "NET-02",
          `${notForResolvers} ip daddr != ${denied} iifname . ip daddr . meta l4proto . th dport @listed goto OPEN`,
        ),
        drop("egress-policy", "NET-02"),
      ],
    },
    {
      name: "OPEN",
      rules: [
        ...outside(options).map((link) => rule("opened", "NET-02", `ct status confirmed ${link} accept`)),
        ...outside(options).map((link) => rule("opening", "NET-04", `${opens} ${link} iifname @opening goto OPENING`)),
        ...outside(options).map((link) => drop("connection-rate", "NET-04", link)),
        drop("no-way-out", "NET-02"),
      ],
    },
    ...outside(options).map((link) => ({
      name: "OPENING",
      rules: [
        // Counted by link, since that is what a guest cannot choose, and only when new, so that a full table cuts nobody off.
        drop("too-many-connections", "NET-04", `${opens} add @outbound { iifname ct count over ${connectionLimit} }`),
        rule("opened-now", "NET-02", `${link} accept`),
      ],
    })),
  ];
}

/** The match of the uplink, if there is one. */
function outside({ uplinkInterface }: HostRulesetOptions): string[] {
  return uplinkInterface === undefined ? [] : [`oifname "${uplinkInterface}"`];
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

function sets({ networks, slotCount }: HostRulesetOptions): NftSet[] {
  const elements = networks.flatMap(elementsOf);
  const size = `size ${slotCount}`;
  const tenants = (name: TenantSet, ...properties: readonly string[]): NftSet => ({
    name,
    properties,
    elements: elements.filter(({ set }) => set === name).map(elementText),
  });
  return [
    tenants("guests", "type ifname . ether_addr . ipv4_addr", size),
    tenants("reachable", "type ifname . ipv4_addr", size),
    // What a set says of its limit is a default that no element uses; each element has its own.
    tenants("sending", "type ifname", size, "limit rate 1000/second burst 100 packets"),
    tenants("receiving", "type ifname", size, "limit rate 1000/second burst 100 packets"),
    tenants("opening", "type ifname", size, "limit rate 200/second burst 400 packets"),
    tenants("internet", "type ifname", size),
    tenants("resolving", "type ifname", size, "counter"),
    tenants(
      "listed",
      "type ifname . ipv4_addr . inet_proto . inet_service",
      `size ${slotCount * maxDestinations}`,
      "flags interval",
    ),
    { name: "outbound", properties: ["type ifname", size, "flags dynamic"], elements: [] },
    { name: "inbound", properties: ["type ifname", size, "flags dynamic"], elements: [] },
    {
      name: "drops",
      properties: ["type ifname . mark", `size ${slotCount * dropReasons.length}`, "flags dynamic", "counter"],
      elements: [],
    },
  ];
}

function base(name: string, hook: string, rules: readonly Rule[]): Chain {
  return { name, base: `type filter hook ${hook}; policy drop;`, rules };
}

/** Counts by link and mark, then drops. Two rules: where the set is full the first one stops, and the packet is dropped uncounted. */
function counting(name: string, link: "iifname" | "oifname"): Chain {
  const id = name.toLowerCase();
  return {
    name,
    rules: [rule(`${id}-count`, "NET-02", `add @drops { ${link} . meta mark }`), rule(id, "NET-02", "counter drop")],
  };
}

function drop(reason: DropReason, control: string, match = "", chain = "DROP-FROM-GUEST"): Rule {
  return rule(reason, control, `${match} meta mark set ${markOf(reason)} goto ${chain}`.trim());
}

function rule(id: string, control: string, text: string): Rule {
  return { id, control, text };
}
