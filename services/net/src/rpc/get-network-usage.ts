import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  type GetNetworkUsageRequest,
  type GetNetworkUsageResponse,
  GetNetworkUsageResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { networkNotFound } from "../errors.ts";
import type { NetContext } from "../routes.ts";

export function getNetworkUsage({ store, usage }: NetContext) {
  return async ({ vmId }: GetNetworkUsageRequest): Promise<GetNetworkUsageResponse> => {
    const network = store.find(vmId);
    if (network === undefined) throw networkNotFound(vmId);
    const { droppedPackets, inboundSilenceSeconds, ...counted } = await usage.read(network.slot);
    return create(GetNetworkUsageResponseSchema, {
      ...counted,
      droppedPackets: Object.fromEntries(droppedPackets),
      ...(inboundSilenceSeconds === undefined ? {} : { inboundSilence: durationFromMs(inboundSilenceSeconds * 1000) }),
    });
  };
}
