import type { Connection } from "../netlink/conntrack.ts";
import { inner } from "../slots/address-plan.ts";

/** What a guest's tracked connections say about whether it is in use. */
export interface ConnectionUse {
  /** That the guest opened and that are not closed; without questions to the DNS servers it is told to ask. */
  readonly outboundConnections: number;
  /** Established ones to the guest's gateway. */
  readonly inboundConnections: number;
  /** Since the last packet of an inbound connection; undefined when there is none. */
  readonly inboundSilenceSeconds: number | undefined;
}

/** As docs/architecture.md has it. The agent's own port is not the tenant's use. */
const gatewayPort = 9000;
const dnsPort = 53;
const tcp = 6;
const udp = 17;
/** enum tcp_conntrack: established is 3, and from last-ack on nobody is there any more. */
const established = 3;
const lastAck = 6;

/** `connections`: of the slot's own namespace, where established TCP is forgotten after `establishedSeconds` without a packet. */
export function connectionUse(
  connections: readonly Connection[],
  resolverAddresses: readonly string[],
  establishedSeconds: number,
): ConnectionUse {
  const outbound = connections.filter((one) => isOutbound(one, resolverAddresses));
  const inbound = connections.filter(
    ({ reply, tcpState }) =>
      reply.protocol === tcp &&
      reply.source === inner.guestAddress &&
      reply.sourcePort === gatewayPort &&
      tcpState === established,
  );
  // The kernel sets what is left to the whole with each packet.
  const silences = inbound.map(({ secondsLeft = 0 }) => Math.max(0, establishedSeconds - secondsLeft));
  return {
    outboundConnections: outbound.length,
    inboundConnections: inbound.length,
    inboundSilenceSeconds: silences.length === 0 ? undefined : Math.min(...silences),
  };
}

function isOutbound({ original, tcpState = 0 }: Connection, resolverAddresses: readonly string[]): boolean {
  const { protocol, source, destination, destinationPort } = original;
  if (source !== inner.guestAddress) return false;
  if (protocol === tcp) return tcpState < lastAck;
  return protocol === udp && !(destinationPort === dnsPort && resolverAddresses.includes(destination));
}
