import { permits } from "../firewall/egress.ts";
import { deleteConnection, deleteConnections, dumpConnections } from "../netlink/conntrack.ts";
import type { KeptSocket } from "../netlink/kept-socket.ts";
import type { Libc } from "../netlink/libc.ts";
import { destroySockets } from "../netlink/sock-diag.ts";
import { type NetlinkSocket, openNetlink, protocols } from "../netlink/socket.ts";
import type { Egress } from "../networks/policy.ts";
import { inner, namespacePath, planSlot } from "../slots/address-plan.ts";
import type { Flows } from "./flows.ts";

export interface NetlinkFlowsOptions {
  readonly libc: Libc;
  /** Of the host, each of its protocol. */
  readonly netfilter: KeptSocket;
  readonly sockDiag: KeptSocket;
  readonly netnsDir: string;
  readonly resolverAddresses: readonly string[];
}

/** Flows by the kernel's own protocol: no process. Blocks the event loop for what the kernel takes to go through its table. */
export function createNetlinkFlows(options: NetlinkFlowsOptions): Flows {
  const { libc, netfilter, sockDiag, netnsDir, resolverAddresses } = options;

  function forbid(socket: NetlinkSocket, source: string, egress: Egress): void {
    for (const connection of dumpConnections(socket, { source })) {
      const { protocol, destination: address, destinationPort: port = 0 } = connection.original;
      if (!permits(egress, resolverAddresses, { protocol, address, port })) deleteConnection(socket, connection);
    }
  }

  return {
    async endAll(address) {
      // A cut flow sends no reset by itself: without this, a pooled connection hangs until its own timeout.
      sockDiag.use((socket) => destroySockets(socket, address));
      netfilter.use((socket) => {
        deleteConnections(socket, { source: address });
        deleteConnections(socket, { destination: address });
      });
    },
    async endForbidden(slot, egress) {
      netfilter.use((socket) => forbid(socket, planSlot(slot).guestAddress, egress));
      // The slot tracks them too, and they count towards what the guest may have open.
      using inSlot = openNetlink(libc, protocols.netfilter, namespacePath(netnsDir, slot));
      forbid(inSlot, inner.guestAddress, egress);
    },
  };
}
