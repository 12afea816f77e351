import type { SetElement } from "../netlink/nft-element.ts";
import type { KeyPart } from "../netlink/nft-key.ts";
import type { Egress, Limits } from "../networks/policy.ts";
import { planSlot } from "../slots/address-plan.ts";
import { dropReasons, markOf } from "./drop-reasons.ts";
import { destinationsOf } from "./egress.ts";
import { dotted } from "./ranges.ts";

/** Most elements that one tenant has in `listed`: 32 rules, at most three destinations for each of two protocols. */
export const maxDestinations = 192;

/** NET-04: new connections of a guest, per second and at once. */
const newConnections = { ratePerSecond: 200, burst: 400 };

/** What the firewall needs to know of a tenant. */
export interface AdmittedNetwork {
  readonly slot: number;
  readonly egress: Egress;
  readonly limits: Limits;
}

/** Sets whose elements are the tenants. */
export const tenantSets = [
  "guests",
  "reachable",
  "sending",
  "receiving",
  "opening",
  "internet",
  "resolving",
  "listed",
] as const;
export type TenantSet = (typeof tenantSets)[number];

export interface TenantElement extends SetElement {
  readonly set: TenantSet;
}

/** What makes a slot a tenant's. An interface without these reaches nothing and is not reached. */
export function elementsOf({ slot, egress, limits }: AdmittedNetwork): TenantElement[] {
  const { hostInterface, slotMac, guestAddress } = planSlot(slot);
  const link: KeyPart = { type: "ifname", value: hostInterface };
  const address: KeyPart = { type: "ipv4_addr", value: guestAddress };
  return [
    { set: "guests", key: [link, { type: "ether_addr", value: slotMac }, address] },
    { set: "reachable", key: [link, address] },
    { set: "sending", key: [link], limit: packetLimit(limits.sentPackets) },
    { set: "receiving", key: [link], limit: packetLimit(limits.receivedPackets) },
    { set: "opening", key: [link], limit: newConnections },
    ...(egress.mode === "internet" ? [{ set: "internet" as const, key: [link] }] : []),
    ...(egress.mode === "none" ? [] : [{ set: "resolving" as const, key: [link] }]),
    ...(egress.mode === "list" ? listed(link, egress) : []),
  ];
}

/** The counters of a slot, which the kernel makes as packets are dropped. */
export function dropCountersOf(slot: number): SetElement[] {
  const link: KeyPart = { type: "ifname", value: planSlot(slot).hostInterface };
  return dropReasons.map((reason) => ({ set: "drops", key: [link, { type: "mark", value: markOf(reason) }] }));
}

function listed(link: KeyPart, { rules }: Extract<Egress, { mode: "list" }>): TenantElement[] {
  return destinationsOf(rules).map(({ protocol, addresses, firstPort, lastPort }) => {
    const key = (address: number, port: number): KeyPart[] => [
      link,
      { type: "ipv4_addr", value: dotted(address) },
      { type: "inet_proto", value: protocol },
      { type: "inet_service", value: port },
    ];
    return { set: "listed", key: key(addresses.first, firstPort), keyEnd: key(addresses.last, lastPort) };
  });
}

/** A tenth of a second's packets may come at once; more would not be seen within the accuracy of 10 %. */
function packetLimit(packetsPerSecond: number): { ratePerSecond: number; burst: number } {
  return { ratePerSecond: packetsPerSecond, burst: Math.max(5, Math.ceil(packetsPerSecond / 10)) };
}
