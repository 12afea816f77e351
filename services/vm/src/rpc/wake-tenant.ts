import { create, toBinary } from "@bufbuild/protobuf";
import {
  type WakeTenantRequest,
  WakeTenantRequestSchema,
  type WakeTenantResponse,
  WakeTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";
import { causeText } from "../wakes/wake-cause.ts";

/** It goes on when the caller goes away, so the call's signal is not passed on. */
export function wakeTenant({ config, requests, wakes }: VmContext) {
  return (request: WakeTenantRequest): Promise<WakeTenantResponse> =>
    requests.run(
      request.requestId,
      "WakeTenant",
      toBinary(WakeTenantRequestSchema, request),
      WakeTenantResponseSchema,
      async () => {
        const { requestId, name, vmId } = request;
        const tenant = await wakes.wake({ requestId, name, vmId, cause: causeText(request.cause) ?? "request" });
        return create(WakeTenantResponseSchema, { tenant: toTenantMessage(tenant, config) });
      },
    );
}
