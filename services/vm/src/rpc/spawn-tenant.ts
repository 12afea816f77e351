import { create, toBinary } from "@bufbuild/protobuf";
import {
  type SpawnTenantRequest,
  SpawnTenantRequestSchema,
  type SpawnTenantResponse,
  SpawnTenantResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { toIdlePolicy } from "../idle/policy.ts";
import { toEgress, toNetworkLimits } from "../network-policy.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

const defaultImage = "base";

/** The spawn goes on when the caller goes away, so the call's signal is not passed on. */
export function spawnTenant({ config, requests, operations }: VmContext) {
  return (request: SpawnTenantRequest): Promise<SpawnTenantResponse> =>
    requests.run(
      request.requestId,
      "SpawnTenant",
      toBinary(SpawnTenantRequestSchema, {
        ...request,
        labels: sorted(request.labels),
        extraHostNames: request.extraHostNames.toSorted(),
      }),
      SpawnTenantResponseSchema,
      async () => {
        const tenant = await operations.spawn({
          requestId: request.requestId,
          name: request.name,
          owner: request.owner,
          image: request.image || defaultImage,
          resources: {
            vcpuCount: request.resources?.vcpuCount ?? 0,
            memoryMib: request.resources?.memoryMib ?? 0,
            diskMib: request.resources?.diskMib ?? 0,
          },
          labels: request.labels,
          egress: toEgress(request.egress),
          networkLimits: toNetworkLimits(request.networkLimits),
          extraHostNames: request.extraHostNames,
          idlePolicy: toIdlePolicy(request.idlePolicy, config),
        });
        return create(SpawnTenantResponseSchema, { tenant: toTenantMessage(tenant, config) });
      },
    );
}

/** A caller that repeats its request may write the entries of a map, or of a set, in another order; it is the same request. */
function sorted(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}
