import { create, toBinary } from "@bufbuild/protobuf";
import {
  type PublishRouteRequest,
  PublishRouteRequestSchema,
  type PublishRouteResponse,
  PublishRouteResponseSchema,
  RouteState,
} from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { routeMessage } from "../route-message.ts";
import type { ProxyContext } from "../service.ts";

export function publishRoute({ directory, events, requests, wakes, domain }: ProxyContext) {
  return (request: PublishRouteRequest): Promise<PublishRouteResponse> => {
    const bytes = toBinary(PublishRouteRequestSchema, request);
    return requests.run(request.requestId, "PublishRoute", bytes, PublishRouteResponseSchema, async () => {
      const { tenant, vmId, generation, guestAddress, extraHostNames } = request;
      const state = request.state === RouteState.ASLEEP ? "asleep" : "awake";
      const { route, changed } = directory.publish({ tenant, vmId, generation, state, guestAddress, extraHostNames });
      if (changed) events.routePublished(route);
      wakes.routeChanged(tenant);
      return create(PublishRouteResponseSchema, { route: routeMessage(route, domain) });
    });
  };
}
