import { create, toBinary } from "@bufbuild/protobuf";
import {
  type UpdateTenantEgressRequest,
  UpdateTenantEgressRequestSchema,
  type UpdateTenantEgressResponse,
  UpdateTenantEgressResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { toEgress } from "../network-policy.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

export function updateTenantEgress({ config, requests, operations }: VmContext) {
  return (request: UpdateTenantEgressRequest): Promise<UpdateTenantEgressResponse> =>
    requests.run(
      request.requestId,
      "UpdateTenantEgress",
      toBinary(UpdateTenantEgressRequestSchema, request),
      UpdateTenantEgressResponseSchema,
      async () => {
        const tenant = await operations.updateEgress(request.name, toEgress(request.egress));
        return create(UpdateTenantEgressResponseSchema, { tenant: toTenantMessage(tenant, config) });
      },
    );
}
