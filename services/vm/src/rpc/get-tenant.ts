import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { HandlerContext } from "@connectrpc/connect";
import { WorkloadState } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import {
  type GetTenantRequest,
  type GetTenantResponse,
  GetTenantResponseSchema,
  WorkloadHealth,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { tenantNotFound } from "../errors.ts";
import type { VmContext } from "../service.ts";
import { toTenantMessage } from "../tenant-message.ts";

const healths: Readonly<Record<WorkloadState, WorkloadHealth>> = {
  [WorkloadState.UNSPECIFIED]: WorkloadHealth.UNSPECIFIED,
  [WorkloadState.WAITING_FOR_SECRETS]: WorkloadHealth.STARTING,
  [WorkloadState.STARTING]: WorkloadHealth.STARTING,
  [WorkloadState.HEALTHY]: WorkloadHealth.HEALTHY,
  [WorkloadState.UNHEALTHY]: WorkloadHealth.UNHEALTHY,
  [WorkloadState.FAILED]: WorkloadHealth.FAILED,
};

/** The agent is asked at the call, and the workload's health is what it says: one may be well without the other. */
export function getTenant({
  config,
  tenants,
  guests,
  holds,
  idle,
}: Pick<VmContext, "config" | "tenants" | "guests" | "holds" | "idle">) {
  return async (
    { name }: Pick<GetTenantRequest, "name">,
    { signal }: Pick<HandlerContext, "signal">,
  ): Promise<GetTenantResponse> => {
    const tenant = tenants.find(name);
    if (tenant === undefined) throw tenantNotFound(name);
    const message = toTenantMessage(tenant, config);
    if (tenant.phase !== "running") return create(GetTenantResponseSchema, { tenant: message });
    const state = await guests.workloadState(tenant, signal);
    const view = tenant.idlePolicy.mode === "after" ? idle.viewOf(tenant.vmId) : undefined;
    const workload = healths[state ?? WorkloadState.UNSPECIFIED] ?? WorkloadHealth.UNSPECIFIED;
    return create(GetTenantResponseSchema, {
      tenant: message,
      holdCount: holds.count(tenant.vmId),
      ...(view === undefined ? {} : { activity: toActivityMessage(view) }),
      health: { agentAnswers: state !== undefined, workload },
    });
  };
}

function toActivityMessage({
  awakeBy,
  silenceMs,
}: {
  readonly awakeBy: readonly string[];
  readonly silenceMs: number;
}) {
  return { awakeBy: [...awakeBy], lastActiveTime: timestampFromMs(Date.now() - silenceMs) };
}
