import { create, toBinary } from "@bufbuild/protobuf";
import {
  type UpdateNetworkLimitsRequest,
  UpdateNetworkLimitsRequestSchema,
  type UpdateNetworkLimitsResponse,
  UpdateNetworkLimitsResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { NetContext } from "../routes.ts";
import { fromLimits, toNetwork } from "./network-message.ts";

/** The request log keeps a late repetition from bringing older limits back. */
export function updateNetworkLimits({ networks, requests, settings }: NetContext) {
  return (request: UpdateNetworkLimitsRequest): Promise<UpdateNetworkLimitsResponse> => {
    const bytes = toBinary(UpdateNetworkLimitsRequestSchema, request);
    return requests.run(
      request.requestId,
      "UpdateNetworkLimits",
      bytes,
      UpdateNetworkLimitsResponseSchema,
      async () => {
        const limits = fromLimits(request.limits, settings.defaultLimits);
        const network = await networks.updateLimits(request.vmId, limits);
        return create(UpdateNetworkLimitsResponseSchema, { network: toNetwork(network, settings.resolverAddresses) });
      },
    );
  };
}
