import { create } from "@bufbuild/protobuf";
import {
  type GetNetworkCapacityRequest,
  type GetNetworkCapacityResponse,
  GetNetworkCapacityResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { conntrackNeed, networksWithin } from "../networks/admission.ts";
import type { NetContext } from "../routes.ts";

/** The numbers by which `AttachNetwork` admits, read now. */
export function getNetworkCapacity({ store, pool, conntrack, settings, now }: NetContext) {
  return (_request: GetNetworkCapacityRequest): GetNetworkCapacityResponse => {
    const { slotCount, connectionLimit, addressQuarantineMs } = settings;
    const { max, count, buckets, establishedTimeoutSeconds } = conntrack();
    return create(GetNetworkCapacityResponseSchema, {
      slotCount,
      attachedCount: store.count(),
      quarantinedCount: store.countFreedSince(now() - addressQuarantineMs),
      warmCount: pool.warm().size,
      conntrackMax: max,
      conntrackCount: count,
      conntrackMaxForAllSlots: conntrackNeed(slotCount, connectionLimit),
      conntrackNetworkLimit: networksWithin(max, connectionLimit),
      conntrackBuckets: buckets,
      conntrackEstablishedTimeoutSeconds: establishedTimeoutSeconds,
    });
  };
}
