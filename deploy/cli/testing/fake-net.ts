import { defineRoutes, type Routes, unimplemented } from "@lobsterd/chassis/routes.ts";
import { NetworkService } from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";

/** Each look finds 2 KiB more. */
export function netRoutes(): Routes {
  let receivedBytes = 0n;
  return defineRoutes(NetworkService, {
    getNetworkUsage() {
      receivedBytes += 2048n;
      return {
        receivedBytes,
        sentBytes: 10n,
        trackedConnections: 3,
        droppedPackets: { "denied-range": 4n, spoofed: 1n },
      };
    },
    ...{ attachNetwork: unimplemented, detachNetwork: unimplemented, getNetwork: unimplemented },
    ...{ repairNetwork: unimplemented, updateNetworkLimits: unimplemented },
    ...{ listNetworks: unimplemented, updateNetworkEgress: unimplemented, getNetworkCapacity: unimplemented },
  });
}
