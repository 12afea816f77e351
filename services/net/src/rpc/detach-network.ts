import { create } from "@bufbuild/protobuf";
import {
  type DetachNetworkRequest,
  type DetachNetworkResponse,
  DetachNetworkResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { NetContext } from "../routes.ts";

/** Runs every time, without the request log: a repeated detach must mean that the microVM is cut off now. */
export function detachNetwork({ networks }: NetContext) {
  return async (request: DetachNetworkRequest): Promise<DetachNetworkResponse> => {
    await networks.detach(request.vmId);
    return create(DetachNetworkResponseSchema);
  };
}
