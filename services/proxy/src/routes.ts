import { defineRoutes, type Routes } from "@lobsterd/chassis/routes.ts";
import { RouteService } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { getRoute } from "./rpc/get-route.ts";
import { listRoutes } from "./rpc/list-routes.ts";
import { publishRoute } from "./rpc/publish-route.ts";
import { withdrawRoute } from "./rpc/withdraw-route.ts";
import type { ProxyContext } from "./service.ts";

/** Every RPC of `proxy` and what answers it. */
export function createRoutes(context: ProxyContext): readonly Routes[] {
  return [
    defineRoutes(RouteService, {
      publishRoute: publishRoute(context),
      withdrawRoute: withdrawRoute(context),
      getRoute: getRoute(context),
      listRoutes: listRoutes(context),
    }),
  ];
}
