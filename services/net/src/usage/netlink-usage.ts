import { dropReasons } from "../firewall/drop-reasons.ts";
import type { ElementStore } from "../firewall/element-store.ts";
import { dropCountersOf } from "../firewall/tenant-elements.ts";
import { establishedTimeoutSeconds } from "../host/namespace.ts";
import { countConnections, dumpConnections } from "../netlink/conntrack.ts";
import type { KeptSocket } from "../netlink/kept-socket.ts";
import type { Libc } from "../netlink/libc.ts";
import { type LinkStatistics, readLink } from "../netlink/link.ts";
import { readRules } from "../netlink/nft-rules.ts";
import { readShaping } from "../netlink/shaping.ts";
import { type NetlinkSocket, openNetlink, protocols } from "../netlink/socket.ts";
import { inner, namespacePath, planSlot, tableName } from "../slots/address-plan.ts";
import { type ConnectionUse, connectionUse } from "./connections.ts";
import type { Usage, UsageReader } from "./usage.ts";

export interface NetlinkUsageOptions {
  readonly libc: Libc;
  readonly elements: ElementStore;
  /** Of the host. */
  readonly routes: KeptSocket;
  readonly netnsDir: string;
  readonly resolverAddresses: readonly string[];
}

interface SlotCounters {
  readonly link: LinkStatistics;
  readonly trackedConnections: number;
  readonly use: ConnectionUse;
  /** By the name of the rule. */
  readonly dropped: ReadonlyMap<string, bigint>;
  readonly sentBandwidthDrops: number;
}

/** Asks the slot's namespace for its link, rules and connections, and the host for the slot's elements and queue. No process. */
export function createNetlinkUsage(options: NetlinkUsageOptions): UsageReader {
  const { libc, elements, routes, netnsDir, resolverAddresses } = options;

  function readSlot(slot: number): SlotCounters {
    const namespace = namespacePath(netnsDir, slot);
    using links = openNetlink(libc, protocols.route, namespace);
    using filter = openNetlink(libc, protocols.netfilter, namespace);
    const link = readLink(links, inner.tap);
    if (link === undefined) throw new Error(`slot ${slot} has no ${inner.tap}`);
    return {
      link: link.statistics,
      trackedConnections: countConnections(filter),
      use: connectionUse(dumpConnections(filter), resolverAddresses, establishedTimeoutSeconds),
      dropped: countedByRule(filter),
      sentBandwidthDrops: readShaping(links, inner.uplink)?.drops ?? 0,
    };
  }

  return {
    async read(slot): Promise<Usage> {
      const { hostInterface } = planSlot(slot);
      const { link, trackedConnections, use, dropped, sentBandwidthDrops } = readSlot(slot);
      const receivedBandwidthDrops = routes.use((socket) => readShaping(socket, hostInterface))?.drops ?? 0;
      const names = [
        ...dropCountersOf(slot),
        { set: "resolving", key: [{ type: "ifname", value: hostInterface }] } as const,
      ];
      const counters = (await elements.find(names)).map((element) => element?.counter?.packets ?? 0n);
      const reasons: [string, bigint][] = [
        ...dropped,
        ["sent-bandwidth", BigInt(sentBandwidthDrops)],
        ["received-bandwidth", BigInt(receivedBandwidthDrops)],
        ...dropReasons.map((reason, at): [string, bigint] => [reason, counters[at] ?? 0n]),
      ];
      return {
        // What the tap received is what the guest sent.
        ...{ sentBytes: link.receivedBytes, sentPackets: link.receivedPackets },
        ...{ receivedBytes: link.sentBytes, receivedPackets: link.sentPackets },
        trackedConnections,
        ...use,
        droppedPackets: summed(reasons),
        resolverPackets: counters.at(-1) ?? 0n,
      };
    },
  };
}

/** Every rule of a slot that counts drops, or counts what its policy then drops. */
function countedByRule(filter: NetlinkSocket): Map<string, bigint> {
  const rules = (["netdev", "inet"] as const).flatMap((family) => readRules(filter, family, tableName));
  return summed(rules.map(({ comment = "", counter }) => [comment, counter?.packets ?? 0n]));
}

/** The same reason on the host and in the slot is one; those that dropped nothing are left out. */
function summed(reasons: readonly (readonly [string, bigint])[]): Map<string, bigint> {
  const sums = new Map<string, bigint>();
  for (const [reason, packets] of reasons) if (packets > 0n) sums.set(reason, (sums.get(reason) ?? 0n) + packets);
  return sums;
}
