import type { RequestLog } from "@lobsterd/chassis/idempotency.ts";
import { defineRoutes, type Routes } from "@lobsterd/chassis/routes.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { NetConfig } from "./config.ts";
import type { ConntrackFacts } from "./host/conntrack-facts.ts";
import type { NetworkStack } from "./network-stack.ts";
import type { NetworkStore } from "./networks/network-store.ts";
import type { Networks } from "./networks/networks.ts";
import { attachNetwork } from "./rpc/attach-network.ts";
import { detachNetwork } from "./rpc/detach-network.ts";
import { getNetwork } from "./rpc/get-network.ts";
import { getNetworkCapacity } from "./rpc/get-network-capacity.ts";
import { getNetworkUsage } from "./rpc/get-network-usage.ts";
import { listNetworks } from "./rpc/list-networks.ts";
import { repairNetwork } from "./rpc/repair-network.ts";
import { updateNetworkEgress } from "./rpc/update-network-egress.ts";
import { updateNetworkLimits } from "./rpc/update-network-limits.ts";
import type { SlotPool } from "./slots/slot-pool.ts";
import type { UsageReader } from "./usage/usage.ts";

/** What the RPCs work with. */
export interface NetContext {
  readonly networks: Networks;
  readonly store: NetworkStore;
  readonly pool: SlotPool;
  readonly usage: UsageReader;
  readonly reconcile: NetworkStack["reconcile"];
  readonly requests: RequestLog;
  readonly conntrack: () => ConntrackFacts;
  readonly settings: Pick<
    NetConfig,
    "slotCount" | "connectionLimit" | "addressQuarantineMs" | "resolverAddresses" | "defaultLimits"
  >;
  readonly now: () => number;
}

/** Table of contents. */
export function networkRoutes(context: NetContext): Routes {
  return defineRoutes(NetworkService, {
    attachNetwork: attachNetwork(context),
    detachNetwork: detachNetwork(context),
    getNetwork: getNetwork(context),
    listNetworks: listNetworks(context),
    updateNetworkEgress: updateNetworkEgress(context),
    updateNetworkLimits: updateNetworkLimits(context),
    repairNetwork: repairNetwork(context),
    getNetworkUsage: getNetworkUsage(context),
    getNetworkCapacity: getNetworkCapacity(context),
  });
}
