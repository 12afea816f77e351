import { create, toBinary } from "@bufbuild/protobuf";
import {
  type RepairTenantRequest,
  RepairTenantRequestSchema,
  type RepairTenantResponse,
  RepairTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Check } from "../repair/checks.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

const toCheck = ({ name, passed, detail }: Check) => ({ name, passed, detail });

/** It goes on when the caller goes away, so the call's signal is not passed on. */
export function repairTenant({ config, requests, operations }: VmContext) {
  return (request: RepairTenantRequest): Promise<RepairTenantResponse> =>
    requests.run(
      request.requestId,
      "RepairTenant",
      toBinary(RepairTenantRequestSchema, request),
      RepairTenantResponseSchema,
      async () => {
        const { before, after, steps, tenant } = await operations.repair(request.name);
        return create(RepairTenantResponseSchema, {
          before: before.map(toCheck),
          after: after.map(toCheck),
          repairs: steps.map(({ action, reason }) => ({ action, succeeded: reason === "", reason })),
          tenant: toTenantMessage(tenant, config),
        });
      },
    );
}
