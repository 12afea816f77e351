import { create, toBinary } from "@bufbuild/protobuf";
import {
  type EvictTenantRequest,
  EvictTenantRequestSchema,
  type EvictTenantResponse,
  EvictTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { VmContext } from "../service.ts";

export function evictTenant({ requests, operations }: VmContext) {
  return (request: EvictTenantRequest): Promise<EvictTenantResponse> =>
    requests.run(
      request.requestId,
      "EvictTenant",
      toBinary(EvictTenantRequestSchema, request),
      EvictTenantResponseSchema,
      async () => {
        await operations.evict(request.requestId, request.name);
        return create(EvictTenantResponseSchema);
      },
    );
}
