import { create } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { LogSource } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import {
  type StreamTenantLogsRequest,
  type StreamTenantLogsResponse,
  StreamTenantLogsResponseSchema,
  TenantLogSource,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { fail } from "../errors.ts";
import { printable, timeOf } from "../guest/log-text.ts";
import type { VmContext } from "../service.ts";
import { tenantWithGuest } from "./running-tenant.ts";

/** What a guest says of itself: a line is bounded by the contract and made printable, and a line is all that it is. */
export function streamTenantLogs({ tenants, guests, holds }: Pick<VmContext, "tenants" | "guests" | "holds">) {
  return async function* (
    request: Pick<StreamTenantLogsRequest, "name" | "source" | "follow" | "tailLines">,
    { signal }: Pick<HandlerContext, "signal">,
  ): AsyncGenerator<StreamTenantLogsResponse> {
    const tenant = tenantWithGuest(tenants, request.name);
    if (request.source === TenantLogSource.VMM) {
      throw fail("VMM_LOG_NOT_OFFERED", "what a VMM writes is in the log of vm, when the VMM ends");
    }
    const { follow, tailLines } = request;
    const source = request.source === TenantLogSource.AGENT ? LogSource.AGENT : LogSource.WORKLOAD;
    const lines = guests.streamLogs(tenant, { source, follow, tailLines }, signal);
    for await (const { time, line } of holds.during(tenant.vmId, lines)) {
      const known = timeOf(time);
      yield create(StreamTenantLogsResponseSchema, {
        line: printable(line),
        ...(known === undefined ? {} : { time: known }),
      });
    }
  };
}
