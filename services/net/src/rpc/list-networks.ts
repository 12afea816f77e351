import { create } from "@bufbuild/protobuf";
import { decodePageToken, encodePageToken, pageSizeOf } from "@lobsterd/chassis/pages.ts";
import {
  type ListNetworksRequest,
  type ListNetworksResponse,
  ListNetworksResponseSchema,
} from "@lobsterd/proto/lobsterd/net/v1/net_pb.ts";
import type { NetContext } from "../routes.ts";
import { toNetwork } from "./network-message.ts";

/** In the order of microVM ids. */
export function listNetworks({ store, settings }: NetContext) {
  return (request: ListNetworksRequest): ListNetworksResponse => {
    const size = pageSizeOf(request);
    const found = store.list(decodePageToken(request.page?.pageToken ?? ""), size + 1);
    const networks = found.slice(0, size);
    const last = networks.at(-1);
    const nextPageToken = found.length > size && last !== undefined ? encodePageToken(last.vmId) : "";
    return create(ListNetworksResponseSchema, {
      networks: networks.map((network) => toNetwork(network, settings.resolverAddresses)),
      page: { nextPageToken },
    });
  };
}
