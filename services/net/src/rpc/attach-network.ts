import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttachNetworkRequest,
  AttachNetworkRequestSchema,
  type AttachNetworkResponse,
  AttachNetworkResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { NetContext } from "../routes.ts";
import { fromEgressPolicy, fromLimits, toNetwork } from "./network-message.ts";

/** The request log keeps a late repetition from giving a microVM that was detached since its network back. */
export function attachNetwork({ networks, requests, settings }: NetContext) {
  return (request: AttachNetworkRequest): Promise<AttachNetworkResponse> => {
    const bytes = toBinary(AttachNetworkRequestSchema, request);
    return requests.run(request.requestId, "AttachNetwork", bytes, AttachNetworkResponseSchema, async () => {
      const network = await networks.attach({
        vmId: request.vmId,
        slot: request.slot,
        egress: fromEgressPolicy(request.egress),
        limits: fromLimits(request.limits, settings.defaultLimits),
      });
      return create(AttachNetworkResponseSchema, { network: toNetwork(network, settings.resolverAddresses) });
    });
  };
}
