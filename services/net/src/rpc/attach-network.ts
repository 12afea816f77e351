import { create, toBinary } from "@bufbuild/protobuf";
import type { RequestLog } from "@lobsterd/chassis/idempotency.ts";
import {
  type AttachNetworkRequest,
  AttachNetworkRequestSchema,
  type AttachNetworkResponse,
  AttachNetworkResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { Networks } from "../networks/networks.ts";
import { toNetwork } from "./network-message.ts";

/** The request log keeps a late repetition from giving a microVM that was detached since its network back. */
export function attachNetwork(networks: Networks, requests: RequestLog) {
  return (request: AttachNetworkRequest): Promise<AttachNetworkResponse> => {
    const bytes = toBinary(AttachNetworkRequestSchema, request);
    return requests.run(request.requestId, "AttachNetwork", bytes, AttachNetworkResponseSchema, async () =>
      create(AttachNetworkResponseSchema, { network: toNetwork(await networks.attach(request.vmId, request.slot)) }),
    );
  };
}
