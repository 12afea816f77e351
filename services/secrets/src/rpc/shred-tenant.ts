import { create, toBinary } from "@bufbuild/protobuf";
import {
  type ShredTenantRequest,
  ShredTenantRequestSchema,
  type ShredTenantResponse,
  ShredTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { SecretsContext } from "../service.ts";

export function shredTenant({ requests, shredder, identities, deliveries, keyDestruction, events }: SecretsContext) {
  return (request: ShredTenantRequest): Promise<ShredTenantResponse> =>
    requests.run(
      request.requestId,
      "ShredTenant",
      toBinary(ShredTenantRequestSchema, request),
      ShredTenantResponseSchema,
      async () => {
        const { tenant, vmId, withUnusedKey } = request;
        if (vmId !== "") {
          const vmIds = identities.revoke(tenant, vmId);
          deliveries.cut(vmIds);
          events.identitiesRevoked(tenant, vmIds);
        }
        const shredded =
          vmId === "" ? shredder.shred(tenant) : withUnusedKey ? shredder.shredUnused(tenant) : undefined;
        if (shredded !== undefined) {
          const { tenantKeyId, vmIds } = shredded;
          deliveries.cut(vmIds);
          events.tenantShredded(tenant, tenantKeyId, vmIds);
          // Nothing opens here any more; a provider that is away is asked again later, and holds up no eviction.
          if (tenantKeyId !== undefined) await keyDestruction.run(tenantKeyId);
        }
        return create(ShredTenantResponseSchema);
      },
    );
}
