import { create } from "@bufbuild/protobuf";
import {
  type GetNetworkRequest,
  type GetNetworkResponse,
  GetNetworkResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import { networkNotFound } from "../errors.ts";
import type { NetContext } from "../routes.ts";
import { toNetwork } from "./network-message.ts";

export function getNetwork({ store, settings }: NetContext) {
  return ({ vmId }: GetNetworkRequest): GetNetworkResponse => {
    const network = store.find(vmId);
    if (network === undefined) throw networkNotFound(vmId);
    return create(GetNetworkResponseSchema, { network: toNetwork(network, settings.resolverAddresses) });
  };
}
