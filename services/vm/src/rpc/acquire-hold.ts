import { create, toBinary } from "@bufbuild/protobuf";
import { durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type AcquireHoldRequest,
  AcquireHoldRequestSchema,
  type AcquireHoldResponse,
  AcquireHoldResponseSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { VmContext } from "../service.ts";
import { runningTenant } from "./running-tenant.ts";

/** The tenant runs at this moment, and a suspend for idleness looks again before it begins: the hold is in force when this answers. */
export function acquireHold({ requests, tenants, holds }: Pick<VmContext, "requests" | "tenants" | "holds">) {
  return (request: AcquireHoldRequest): Promise<AcquireHoldResponse> =>
    requests.run(
      request.requestId,
      "AcquireHold",
      toBinary(AcquireHoldRequestSchema, request),
      AcquireHoldResponseSchema,
      async () => {
        const { vmId } = runningTenant(tenants, request.name);
        const lastsMs = request.duration === undefined ? 0 : durationMs(request.duration);
        const { holdId, expireTimeMs } =
          request.holdId === "" ? holds.acquire(vmId, lastsMs) : holds.renew(vmId, request.holdId, lastsMs);
        return create(AcquireHoldResponseSchema, { holdId, expireTime: timestampFromMs(expireTimeMs) });
      },
    );
}
