import type { RequestLog } from "@lobsterd/chassis/idempotency.ts";
import { defineRoutes, type Routes, unimplemented } from "@lobsterd/chassis/routes.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { NetworkStore } from "./networks/network-store.ts";
import type { Networks } from "./networks/networks.ts";
import { attachNetwork } from "./rpc/attach-network.ts";
import { detachNetwork } from "./rpc/detach-network.ts";
import { getNetwork } from "./rpc/get-network.ts";
import { listNetworks } from "./rpc/list-networks.ts";

export interface RouteDependencies {
  readonly networks: Networks;
  readonly store: NetworkStore;
  readonly requests: RequestLog;
}

/** Table of contents. */
export function networkRoutes({ networks, store, requests }: RouteDependencies): Routes {
  return defineRoutes(NetworkService, {
    attachNetwork: attachNetwork(networks, requests),
    detachNetwork: detachNetwork(networks),
    getNetwork: getNetwork(store),
    listNetworks: listNetworks(store),
    updateNetworkEgress: unimplemented,
    getNetworkUsage: unimplemented,
    getNetworkCapacity: unimplemented,
  });
}
