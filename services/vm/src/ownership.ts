import { isMessage } from "@bufbuild/protobuf";
import type { Ownership } from "@lobsterd/chassis/owners.ts";
import { EvictTenantRequestSchema } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { tenantNotFound } from "./errors.ts";
import type { Journal } from "./lifecycle/journal.ts";
import type { TenantStore } from "./store/tenants.ts";

/** Whose tenants are whose, as they were spawned. An eviction may be repeated by whoever owned what it removed. */
export function tenantOwnership(
  tenants: Pick<TenantStore, "isOwned">,
  journal: Pick<Journal, "wasEvictedBy">,
): Ownership {
  return {
    owns: (owner, tenant, request) =>
      tenants.isOwned(tenant, owner) ||
      (isMessage(request, EvictTenantRequestSchema) && journal.wasEvictedBy(request.requestId, tenant, owner)),
    unknown: tenantNotFound,
  };
}
