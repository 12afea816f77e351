import { hasIpv6 } from "../host/namespace.ts";
import { inner, namespacePath, planSlot } from "./address-plan.ts";

/** Links that are about to be removed; a number that nobody else is likely to use. */
const leavingGroup = 77_201;

/**
 * Lines for `ip -batch`. A slot's links are made in this order, so that nothing is up before its rules are there and the
 * host's end, which the reconciler looks at, is up only when all the rest is done:
 * `pair` (host) → `tap` and `uplink` (namespace) → rules (namespace) → `raise` (host).
 */
export function pair(slot: number, netnsDir: string): string[] {
  const { hostInterface, hostMac, slotMac } = planSlot(slot);
  return [
    `link add name ${hostInterface} address ${hostMac} type veth peer name ${inner.uplink} netns ${namespacePath(netnsDir, slot)} address ${slotMac}`,
    ...silence(hostInterface),
  ];
}

/** Takes links away as one group: the kernel waits for a grace period per command, and not per link. */
export function removal(slots: readonly number[]): string[] {
  return [
    ...slots.map((slot) => `link set dev ${planSlot(slot).hostInterface} group ${leavingGroup}`),
    `link delete group ${leavingGroup}`,
  ];
}

/** `ownerId`: user and group that may open the tap, which is the microVM's jail and nobody else. */
export function tap(ownerId: number): string[] {
  return [
    `tuntap add dev ${inner.tap} mode tap user ${ownerId} group ${ownerId}`,
    `link set dev ${inner.tap} address ${inner.gatewayMac}`,
    ...silence(inner.tap),
    `address add ${inner.gatewayAddress}/${inner.prefixLength} dev ${inner.tap}`,
    `link set dev ${inner.tap} up`,
    // Permanent: the guest's ARP can neither add to nor change what is known about it.
    `neighbour replace ${inner.guestAddress} lladdr ${inner.guestMac} nud permanent dev ${inner.tap}`,
  ];
}

export function uplink(slot: number): string[] {
  const { hostAddress, hostMac, guestAddress } = planSlot(slot);
  return [
    ...silence(inner.uplink),
    `address add ${guestAddress}/31 dev ${inner.uplink}`,
    `link set dev ${inner.uplink} up`,
    `neighbour replace ${hostAddress} lladdr ${hostMac} nud permanent dev ${inner.uplink}`,
    `route add default via ${hostAddress} dev ${inner.uplink}`,
  ];
}

export function raise(slot: number): string[] {
  const { hostInterface, hostAddress, guestAddress, slotMac } = planSlot(slot);
  return [
    `link set dev ${hostInterface} up`,
    `address add ${hostAddress}/31 dev ${hostInterface}`,
    `neighbour replace ${guestAddress} lladdr ${slotMac} nud permanent dev ${hostInterface}`,
  ];
}

// No link-local address, even if somebody turned IPv6 on later. At creation the kernel refuses this attribute for a
// link that has no IPv6 state yet, and always when it runs without IPv6.
function silence(link: string): string[] {
  return hasIpv6() ? [`link set dev ${link} addrgenmode none`] : [];
}
