import { inner, tableName } from "../slots/address-plan.ts";
import type { Ruleset } from "./ruleset.ts";

export interface SlotRulesetOptions {
  /** New connections in a direction are dropped while that direction has this many. */
  readonly connectionLimit: number;
}

const { tap, uplink, guestAddress, gatewayAddress, guestMac, gatewayMac } = inner;

/**
 * The ruleset inside a slot's namespace, the same in every slot. The host sees only the namespace's own hardware and outer
 * address, so forging is stopped here, at the tap's ingress: before reassembly, ARP and connection tracking. Then the one
 * outer address is translated to the one guest and back.
 */
export function slotRuleset({ connectionLimit }: SlotRulesetOptions): Ruleset {
  return [
    {
      family: "netdev",
      name: tableName,
      sets: [],
      chains: [
        {
          name: "LOBSTER-INGRESS",
          base: `type filter hook ingress device "${tap}" priority filter; policy drop;`,
          rules: [
            { id: "spoofed-mac", control: "NET-03", text: `ether saddr != ${guestMac} counter drop` },
            {
              id: "arp",
              control: "NET-03",
              text: `arp saddr ether ${guestMac} arp saddr ip ${guestAddress} arp daddr ip ${gatewayAddress} accept`,
            },
            {
              id: "protocol",
              control: "NET-06",
              text: "ip protocol != { icmp, tcp, udp } counter drop",
            },
            { id: "ipv4", control: "NET-03", text: `ether daddr ${gatewayMac} ip saddr ${guestAddress} accept` },
            // The policy drops; this only counts.
            { id: "not-admitted", control: "NET-06", text: "counter" },
          ],
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
          rules: [{ id: "guest-to-namespace", control: "NET-02", text: "counter" }],
        },
        {
          name: "LOBSTER-FORWARD",
          base: "type filter hook forward priority filter - 10; policy drop;",
          rules: [
            { id: "invalid", control: "NET-04", text: "ct state invalid counter drop" },
            // The namespace tracks connections too, and its table is not smaller than the host's.
            {
              id: "too-many-connections",
              control: "NET-04",
              text: `ct state new add @connections { iifname ct count over ${connectionLimit} } counter drop`,
            },
            { id: "out", control: "NET-01", text: `iifname "${tap}" oifname "${uplink}" accept` },
            { id: "in", control: "NET-01", text: `iifname "${uplink}" oifname "${tap}" accept` },
          ],
        },
        {
          name: "LOBSTER-TRANSLATE-IN",
          base: "type nat hook prerouting priority dstnat; policy accept;",
          rules: [{ id: "to-inner", control: "NET-05", text: `iifname "${uplink}" dnat ip to ${guestAddress}` }],
        },
        {
          name: "LOBSTER-TRANSLATE-OUT",
          base: "type nat hook postrouting priority srcnat; policy accept;",
          // The uplink has one address, so this is the slot's outer one without the text having to name it.
          rules: [{ id: "to-outer", control: "NET-01", text: `oifname "${uplink}" masquerade` }],
        },
      ],
    },
  ];
}
