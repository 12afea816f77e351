import { create, toBinary } from "@bufbuild/protobuf";
import {
  type ResumeTenantRequest,
  ResumeTenantRequestSchema,
  type ResumeTenantResponse,
  ResumeTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

/** It goes on when the caller goes away, so the call's signal is not passed on. */
export function resumeTenant({ config, requests, operations }: VmContext) {
  return (request: ResumeTenantRequest): Promise<ResumeTenantResponse> =>
    requests.run(
      request.requestId,
      "ResumeTenant",
      toBinary(ResumeTenantRequestSchema, request),
      ResumeTenantResponseSchema,
      async () => {
        const { requestId, name, discardMemory } = request;
        const tenant = await operations.resume(requestId, name, { discardsMemory: discardMemory });
        return create(ResumeTenantResponseSchema, { tenant: toTenantMessage(tenant, config) });
      },
    );
}
