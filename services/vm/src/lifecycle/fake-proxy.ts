/** `proxy` in memory: it remembers the routes. */
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { defineErrors, toConnectError } from "@lobsterd/chassis/errors.ts";
import {
  ListRoutesResponseSchema,
  PublishRouteResponseSchema,
  type RouteService,
  RouteState,
  WithdrawRouteResponseSchema,
} from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import { type AskedFailures, failAsAsked } from "./fake-failures.ts";

/** A route as it was asked for. */
export interface FakeRoute {
  readonly vmId: string;
  readonly generation: number;
  readonly state: RouteState;
  readonly extraHostNames: readonly string[];
}

export interface FakeProxy {
  /** By tenant. */
  readonly routes: Map<string, FakeRoute>;
}

const missing = defineErrors("fake.lobsterd", { ROUTE_NOT_FOUND: Code.NotFound });

export function routeHandlers(state: FakeProxy & AskedFailures): Partial<ServiceImpl<typeof RouteService>> {
  const { routes } = state;
  const { attempt, admit, requireWilling } = failAsAsked(state);
  return {
    publishRoute: ({ tenant, vmId, generation, state, extraHostNames }) => {
      const what = state === RouteState.ASLEEP ? "sleepRoute" : "publishRoute";
      admit(what);
      // As `proxy` has it: a generation is awake, then asleep, and then there is a later one.
      const before = routes.get(tenant) ?? { generation: 0, state: RouteState.AWAKE };
      const isBack = generation === before.generation && state < before.state;
      if (generation < before.generation || isBack) throw new ConnectError("stale", Code.FailedPrecondition);
      routes.set(tenant, { vmId, generation, state, extraHostNames });
      attempt(what);
      return create(PublishRouteResponseSchema);
    },
    withdrawRoute: ({ tenant, vmId }) => {
      attempt("withdrawRoute");
      requireWilling(vmId);
      if (routes.get(tenant)?.vmId === vmId) routes.delete(tenant);
      return create(WithdrawRouteResponseSchema);
    },
    getRoute: ({ tenant }) => {
      const route = routes.get(tenant);
      if (route === undefined) throw toConnectError(missing("ROUTE_NOT_FOUND", "no route"));
      return { route: { tenant, ...route, extraHostNames: [...route.extraHostNames] } };
    },
    listRoutes: () =>
      create(ListRoutesResponseSchema, {
        routes: [...routes].map(([tenant, { vmId, generation, state, extraHostNames }]) => ({
          ...{ tenant, vmId, generation, state },
          extraHostNames: [...extraHostNames],
        })),
      }),
  };
}
