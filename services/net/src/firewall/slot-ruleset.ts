import { inner, tableName } from "../slots/address-plan.ts";
import { resolverPorts } from "./egress.ts";
import { deniedRanges, isDenied, parseRange } from "./ranges.ts";
import { opens, type Rule, type Ruleset } from "./ruleset.ts";

export interface SlotRulesetOptions {
  /** New connections in a direction are dropped while that direction has this many. */
  readonly connectionLimit: number;
  readonly resolverAddresses: readonly string[];
  /** The host's own IPv4 addresses; those in a range that is denied anyway may be left out. */
  readonly hostAddresses: readonly string[];
}

const { tap, uplink, guestAddress, gatewayAddress, guestMac, gatewayMac } = inner;
const outwards = `iifname "${tap}" oifname "${uplink}"`;

/**
 * The ruleset inside a slot's namespace, the same in every slot. The host sees only the namespace's own hardware and outer
 * address, so forging is stopped here, at the tap's ingress: before reassembly, ARP and connection tracking. What no guest may
 * reach is refused here as it is on the host, so that neither ruleset alone is what stands between two tenants. Then the one
 * outer address is translated to the one guest and back.
 */
export function slotRuleset(options: SlotRulesetOptions): Ruleset {
  return [
    {
      family: "netdev",
      name: tableName,
      sets: [],
      chains: [
        {
          name: "LOBSTER-INGRESS",
          base: `type filter hook ingress device "${tap}" priority filter; policy drop;`,
          rules: ingress(),
        },
      ],
    },
    {
      family: "inet",
      name: tableName,
      sets: [{ name: "connections", properties: ["type ifname", "size 16", "flags dynamic"], elements: [] }],
      chains: [
        {
          name: "LOBSTER-INPUT",
          base: "type filter hook input priority filter - 10; policy drop;",
          rules: [rule("guest-to-namespace", "NET-02", "counter")],
        },
        {
          name: "LOBSTER-FORWARD",
          base: "type filter hook forward priority filter - 10; policy drop;",
          rules: forward(options),
        },
        {
          name: "LOBSTER-TRANSLATE-IN",
          base: "type nat hook prerouting priority dstnat; policy accept;",
          rules: [rule("to-inner", "NET-05", `iifname "${uplink}" dnat ip to ${guestAddress}`)],
        },
        {
          name: "LOBSTER-TRANSLATE-OUT",
          base: "type nat hook postrouting priority srcnat; policy accept;",
          // The uplink has one address, so this is the slot's outer one without the text having to name it.
          rules: [rule("to-outer", "NET-01", `oifname "${uplink}" masquerade`)],
        },
      ],
    },
  ];
}

/** Frames of a guest: ARP for its gateway, and plain IPv4 from its own two addresses to the gateway. */
function ingress(): Rule[] {
  return [
    rule("spoofed-mac", "NET-03", `ether saddr != ${guestMac} counter drop`),
    rule(
      "arp",
      "NET-03",
      `ether type arp arp saddr ether ${guestMac} arp saddr ip ${guestAddress} arp daddr ip ${gatewayAddress} accept`,
    ),
    rule("forged-arp", "NET-03", "ether type arp counter drop"),
    rule("not-ipv4", "NET-06", "ether type != ip counter drop"),
    rule("protocol", "NET-06", "ip protocol != { icmp, tcp, udp } counter drop"),
    // Routes that the sender chooses, and work for every router on the way; nothing that a tenant needs.
    rule("ip-options", "NET-06", "ip hdrlength != 5 counter drop"),
    // Before reassembly: the namespace would answer fragments whose rest never comes.
    rule("to-namespace", "NET-02", `ip daddr ${gatewayAddress} counter drop`),
    rule("spoofed-address", "NET-03", `ip saddr != ${guestAddress} counter drop`),
    rule(
      "ipv4",
      "NET-03",
      `ether daddr ${gatewayMac} ether saddr ${guestMac} ip saddr ${guestAddress} ip daddr != ${gatewayAddress} ip protocol { icmp, tcp, udp } ip hdrlength 5 accept`,
    ),
    // The policy drops; this only counts.
    rule("not-admitted", "NET-06", "counter"),
  ];
}

function forward({ connectionLimit, resolverAddresses, hostAddresses }: SlotRulesetOptions): Rule[] {
  const ownAddresses = hostAddresses.filter((address) => !isDenied(parseRange(address)));
  const unreachable = `{ ${[...deniedRanges, ...ownAddresses].join(", ")} }`;
  const resolvers = resolverAddresses.length === 0 ? [] : [`ip daddr { ${resolverAddresses.join(", ")} }`];
  return [
    rule("invalid", "NET-04", "ct state invalid counter drop"),
    // The namespace tracks connections too, and its table is not smaller than the host's.
    rule(
      "too-many-connections",
      "NET-04",
      `${opens} add @connections { iifname ct count over ${connectionLimit} } counter drop`,
    ),
    rule("in", "NET-01", `iifname "${uplink}" oifname "${tap}" accept`),
    rule("answer", "NET-02", `${outwards} ct state established,related ct direction reply accept`),
    ...resolvers.map((address) =>
      rule(
        "resolver",
        "NET-08",
        `${outwards} meta l4proto { tcp, udp } th dport { ${resolverPorts.join(", ")} } ${address} accept`,
      ),
    ),
    rule("out", "NET-02", `${outwards} ip daddr != ${unreachable} accept`),
    rule("denied-range", "NET-02", "counter"),
  ];
}

function rule(id: string, control: string, text: string): Rule {
  return { id, control, text };
}
