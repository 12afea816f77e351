import { create } from "@bufbuild/protobuf";
import {
  type GetRouteRequest,
  type GetRouteResponse,
  GetRouteResponseSchema,
} from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { routeMessage } from "../route-message.ts";
import type { ProxyContext } from "../service.ts";

export function getRoute({ directory, domain }: ProxyContext) {
  return async (request: GetRouteRequest): Promise<GetRouteResponse> => {
    const route = directory.get(request.tenant);
    return create(GetRouteResponseSchema, { route: routeMessage(route, domain) });
  };
}
