import { create } from "@bufbuild/protobuf";
import {
  type ReleaseHoldRequest,
  type ReleaseHoldResponse,
  ReleaseHoldResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { fail } from "../errors.ts";
import type { VmContext } from "../service.ts";

/** Repeated it has no second effect, so its request is not kept. */
export function releaseHold({ tenants, holds }: Pick<VmContext, "tenants" | "holds">) {
  return async ({ name, holdId }: Pick<ReleaseHoldRequest, "name" | "holdId">): Promise<ReleaseHoldResponse> => {
    const tenant = tenants.find(name);
    if (tenant === undefined)
      throw fail("TENANT_NOT_FOUND", `there is no tenant ${name}`, { metadata: { tenant: name } });
    holds.release(tenant.vmId, holdId);
    return create(ReleaseHoldResponseSchema);
  };
}
