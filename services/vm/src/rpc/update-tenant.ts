import { create, toBinary } from "@bufbuild/protobuf";
import {
  type UpdateTenantRequest,
  UpdateTenantRequestSchema,
  type UpdateTenantResponse,
  UpdateTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { TenantUpdate } from "../lifecycle/update.ts";
import { toEgress, toNetworkLimits } from "../network-policy.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

export function updateTenant({ config, requests, operations }: VmContext) {
  return (request: UpdateTenantRequest): Promise<UpdateTenantResponse> =>
    requests.run(
      request.requestId,
      "UpdateTenant",
      toBinary(UpdateTenantRequestSchema, { ...request, ...(request.labels && { labels: sorted(request.labels) }) }),
      UpdateTenantResponseSchema,
      async () => {
        const tenant = await operations.update(request.name, toUpdate(request));
        const pendingFields = [
          ...(request.resources && tenant.nextResources ? ["resources"] : []),
          ...(request.labels ? ["labels"] : []),
        ];
        return create(UpdateTenantResponseSchema, { tenant: toTenantMessage(tenant, config), pendingFields });
      },
    );
}

function toUpdate({ egress, networkLimits, labels, resources }: UpdateTenantRequest): TenantUpdate {
  return {
    ...(egress && { egress: toEgress(egress) }),
    ...(networkLimits && { networkLimits: toNetworkLimits(networkLimits) }),
    ...(labels && { labels: labels.labels }),
    ...(resources && {
      resources: {
        ...(resources.vcpuCount !== undefined && { vcpuCount: resources.vcpuCount }),
        ...(resources.memoryMib !== undefined && { memoryMib: resources.memoryMib }),
      },
    }),
  };
}

/** A caller that repeats its request may write the entries of a map in another order; it is the same request. */
function sorted(given: NonNullable<UpdateTenantRequest["labels"]>): NonNullable<UpdateTenantRequest["labels"]> {
  const labels = Object.fromEntries(Object.entries(given.labels).sort(([a], [b]) => (a < b ? -1 : 1)));
  return { ...given, labels };
}
