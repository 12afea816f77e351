import { defineRoutes, type Routes, unimplemented } from "@lobsterd/chassis/routes.ts";
import { RouteService, RouteState } from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";

export function proxyRoutes(): Routes {
  return defineRoutes(RouteService, {
    listRoutes: () => ({
      routes: [
        {
          tenant: "demo",
          hostName: "demo.lobsterd.localhost",
          guestAddress: "10.0.0.1",
          generation: 2,
          state: RouteState.AWAKE,
        },
      ],
      page: {},
    }),
    ...{ publishRoute: unimplemented, withdrawRoute: unimplemented, getRoute: unimplemented },
  });
}
