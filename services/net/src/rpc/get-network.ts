import { create } from "@bufbuild/protobuf";
import {
  type GetNetworkRequest,
  type GetNetworkResponse,
  GetNetworkResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { fail } from "../errors.ts";
import type { NetworkStore } from "../networks/network-store.ts";
import { toNetwork } from "./network-message.ts";

export function getNetwork(store: NetworkStore) {
  return ({ vmId }: GetNetworkRequest): GetNetworkResponse => {
    const network = store.find(vmId);
    if (network === undefined)
      throw fail("NETWORK_NOT_FOUND", `microVM ${vmId} has no network`, { metadata: { vm_id: vmId } });
    return create(GetNetworkResponseSchema, { network: toNetwork(network) });
  };
}
