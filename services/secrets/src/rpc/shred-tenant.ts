import { create, toBinary } from "@bufbuild/protobuf";
import {
  type ShredTenantRequest,
  ShredTenantRequestSchema,
  type ShredTenantResponse,
  ShredTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";

export function shredTenant({ requests, shred, identities, deliveries, keyDestruction, events }: SecretsContext) {
  return (request: ShredTenantRequest): Promise<ShredTenantResponse> =>
    requests.run(
      request.requestId,
      "ShredTenant",
      toBinary(ShredTenantRequestSchema, request),
      ShredTenantResponseSchema,
      async () => {
        const { tenant, vmId } = request;
        if (vmId === "") {
          const { tenantKeyId, vmIds } = shred(tenant);
          deliveries.cut(vmIds);
          events.tenantShredded(tenant, tenantKeyId, vmIds);
          // Nothing opens here any more; a provider that is away is asked again later, and holds up no eviction.
          if (tenantKeyId !== undefined) await keyDestruction.run(tenantKeyId);
        } else {
          const vmIds = identities.revoke(tenant, vmId);
          deliveries.cut(vmIds);
          events.identitiesRevoked(tenant, vmIds);
        }
        return create(ShredTenantResponseSchema);
      },
    );
}
