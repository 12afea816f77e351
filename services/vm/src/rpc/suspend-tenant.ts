import { create, toBinary } from "@bufbuild/protobuf";
import {
  type SuspendTenantRequest,
  SuspendTenantRequestSchema,
  type SuspendTenantResponse,
  SuspendTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

/** It goes on when the caller goes away, so the call's signal is not passed on. */
export function suspendTenant({ config, requests, operations }: VmContext) {
  return (request: SuspendTenantRequest): Promise<SuspendTenantResponse> =>
    requests.run(
      request.requestId,
      "SuspendTenant",
      toBinary(SuspendTenantRequestSchema, request),
      SuspendTenantResponseSchema,
      async () => {
        const tenant = await operations.suspend(request.requestId, request.name);
        return create(SuspendTenantResponseSchema, { tenant: toTenantMessage(tenant, config) });
      },
    );
}
