import { create, toBinary } from "@bufbuild/protobuf";
import {
  type WithdrawRouteRequest,
  WithdrawRouteRequestSchema,
  type WithdrawRouteResponse,
  WithdrawRouteResponseSchema,
} from "@lobsterd/proto/lobsterd/proxy/v1/proxy_pb.ts";
import type { ProxyContext } from "../service.ts";

export function withdrawRoute({ directory, events, requests, wakes }: ProxyContext) {
  return (request: WithdrawRouteRequest): Promise<WithdrawRouteResponse> => {
    const bytes = toBinary(WithdrawRouteRequestSchema, request);
    return requests.run(request.requestId, "WithdrawRoute", bytes, WithdrawRouteResponseSchema, async () => {
      const withdrawn = directory.withdraw(request.tenant, request.vmId);
      if (withdrawn !== undefined) events.routeWithdrawn(withdrawn);
      wakes.routeChanged(request.tenant);
      return create(WithdrawRouteResponseSchema);
    });
  };
}
