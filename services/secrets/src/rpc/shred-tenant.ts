import { create, toBinary } from "@bufbuild/protobuf";
import {
  type ShredTenantRequest,
  ShredTenantRequestSchema,
  type ShredTenantResponse,
  ShredTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/secrets/v1/secrets_pb.ts";
import type { Shredded } from "../sealed/shredder.ts";
import type { SecretsContext } from "../service.ts";

/** Without a microVM the tenant is shredded; with one only what that has, and the tenant's key if it is to go and nobody misses it. */
export function shredTenant({ requests, shredder, identities, deliveries, keyDestruction, events }: SecretsContext) {
  const revokeGuest = (tenant: string, vmId: string): void => {
    const vmIds = identities.revoke(tenant, vmId);
    deliveries.cut(vmIds);
    events.identitiesRevoked(tenant, vmIds);
  };
  const shred = async (tenant: string, { tenantKeyId, vmIds }: Shredded): Promise<void> => {
    deliveries.cut(vmIds);
    events.tenantShredded(tenant, tenantKeyId, vmIds);
    // Nothing opens here any more; a provider that is away is asked again later, and holds up no eviction.
    if (tenantKeyId !== undefined) await keyDestruction.run(tenantKeyId);
  };
  return (request: ShredTenantRequest): Promise<ShredTenantResponse> =>
    requests.run(
      request.requestId,
      "ShredTenant",
      toBinary(ShredTenantRequestSchema, request),
      ShredTenantResponseSchema,
      async () => {
        const { tenant, vmId, withUnusedKey } = request;
        if (vmId === "") await shred(tenant, shredder.shred(tenant));
        else {
          revokeGuest(tenant, vmId);
          const shredded = withUnusedKey ? shredder.shredUnused(tenant) : undefined;
          if (shredded !== undefined) await shred(tenant, shredded);
        }
        return create(ShredTenantResponseSchema);
      },
    );
}
