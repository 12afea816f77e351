import { create, toBinary } from "@bufbuild/protobuf";
import {
  type UpdateNetworkEgressRequest,
  UpdateNetworkEgressRequestSchema,
  type UpdateNetworkEgressResponse,
  UpdateNetworkEgressResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { NetContext } from "../routes.ts";
import { fromEgressPolicy, toNetwork } from "./network-message.ts";

/** The request log keeps a late repetition from bringing an older policy back. */
export function updateNetworkEgress({ networks, requests, settings }: NetContext) {
  return (request: UpdateNetworkEgressRequest): Promise<UpdateNetworkEgressResponse> => {
    const bytes = toBinary(UpdateNetworkEgressRequestSchema, request);
    return requests.run(
      request.requestId,
      "UpdateNetworkEgress",
      bytes,
      UpdateNetworkEgressResponseSchema,
      async () => {
        const network = await networks.updateEgress(request.vmId, fromEgressPolicy(request.egress));
        return create(UpdateNetworkEgressResponseSchema, { network: toNetwork(network, settings.resolverAddresses) });
      },
    );
  };
}
