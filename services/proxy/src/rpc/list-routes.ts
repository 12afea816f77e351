import { create } from "@bufbuild/protobuf";
import { decodePageToken, encodePageToken, pageSizeOf } from "@lobsterd/chassis/pages.ts";
import {
  type ListRoutesRequest,
  type ListRoutesResponse,
  ListRoutesResponseSchema,
} from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { routeMessage } from "../route-message.ts";
import type { ProxyContext } from "../service.ts";

export function listRoutes({ directory, domain }: ProxyContext) {
  return async (request: ListRoutesRequest): Promise<ListRoutesResponse> => {
    const size = pageSizeOf(request);
    // One more than asked for tells whether another page follows.
    const found = directory.list(decodePageToken(request.page?.pageToken ?? ""), size + 1);
    const routes = found.slice(0, size);
    const last = found.length > size ? routes.at(-1) : undefined;
    return create(ListRoutesResponseSchema, {
      routes: routes.map((route) => routeMessage(route, domain)),
      page: { nextPageToken: last === undefined ? "" : encodePageToken(last.tenant) },
    });
  };
}
