import { create } from "@bufbuild/protobuf";
import {
  type GetTenantRequest,
  type GetTenantResponse,
  GetTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { fail } from "../errors.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

export function getTenant({ config, tenants }: VmContext) {
  return ({ name }: GetTenantRequest): GetTenantResponse => {
    const tenant = tenants.find(name);
    if (tenant === undefined) {
      throw fail("TENANT_NOT_FOUND", `there is no tenant ${name}`, { metadata: { tenant: name } });
    }
    return create(GetTenantResponseSchema, { tenant: toTenantMessage(tenant, config) });
  };
}
