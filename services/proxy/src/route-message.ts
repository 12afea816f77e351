import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Route, RouteSchema, RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import type { StoredRoute } from "./directory/route-store.ts";

export function routeMessage(route: StoredRoute, domain: string): Route {
  return create(RouteSchema, {
    tenant: route.tenant,
    vmId: route.vmId,
    generation: route.generation,
    guestAddress: route.guestAddress,
    hostName: `${route.tenant}.${domain}`,
    extraHostNames: [...route.extraHostNames],
    state: route.state === "asleep" ? RouteState.ASLEEP : RouteState.AWAKE,
    publishTime: timestampFromMs(route.publishedMs),
  });
}
