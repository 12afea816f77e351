import { durationMs } from "@bufbuild/protobuf/wkt";
import type { EgressPolicy } from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import {
  EgressMode,
  EgressModeSchema,
  EgressProtocol,
  EgressProtocolSchema,
} from "@lobsterd/proto/lobsterd/common/v1/network_pb.ts";
import {
  type GetTenantResponse,
  IdleMode,
  IdleModeSchema,
  type IdlePolicy,
  type Tenant,
  type TenantState,
  TenantStateSchema,
  WorkloadHealthSchema,
} from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { enumText, momentText } from "./show.ts";
import { type Column, renderFields } from "./table.ts";

/** Columns of a list of tenants. */
export const tenantColumns: ReadonlyArray<Column<Tenant>> = [
  { heading: "NAME", cell: ({ name }) => name },
  { heading: "STATE", cell: ({ state }) => stateText(state) },
  { heading: "IMAGE", cell: ({ image }) => image },
  { heading: "VCPUS", cell: ({ resources }) => String(resources?.vcpuCount ?? 0), isRight: true },
  { heading: "MEMORY", cell: ({ resources }) => `${resources?.memoryMib ?? 0} MiB`, isRight: true },
  { heading: "GEN", cell: ({ generation }) => String(generation), isRight: true },
  { heading: "HOST", cell: ({ hostId }) => hostId },
  { heading: "URL", cell: ({ url }) => url },
];

/** One tenant in full, with what was asked of it beside. */
export function tenantText(
  tenant: Tenant | undefined,
  { health, holdCount, activity }: Partial<Pick<GetTenantResponse, "health" | "holdCount" | "activity">> = {},
): string {
  if (tenant === undefined) return "";
  const { resources, labels } = tenant;
  return renderFields([
    ["name", tenant.name],
    ["state", stateText(tenant.state)],
    ["failure", tenant.failureReason],
    ["agent", health === undefined ? "" : health.agentAnswers ? "answers" : "does not answer"],
    ["workload", health === undefined ? "" : enumText(WorkloadHealthSchema, health.workload)],
    ["began with", tenant.bootOrigin],
    ["idle", idleText(tenant.idlePolicy)],
    ["holds", holdCount === undefined ? "" : String(holdCount)],
    ["awake by", activity?.awakeBy.join(" ") ?? ""],
    ["last busy", momentText(activity?.lastActiveTime)],
    ["sleep by", tenant.sleepCause],
    ["next wake", momentText(tenant.nextWakeTime)],
    ["url", tenant.url],
    ["host names", tenant.extraHostNames.join(" ")],
    ["image", tenant.image],
    ["vcpus", String(resources?.vcpuCount ?? 0)],
    ["memory", `${resources?.memoryMib ?? 0} MiB`],
    ["disk", `${resources?.diskMib ?? 0} MiB`],
    ["egress", egressText(tenant.egress)],
    [
      "labels",
      Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(" "),
    ],
    ["host", tenant.hostId],
    ["vm id", tenant.vmId],
    ["generation", String(tenant.generation)],
    ["created", momentText(tenant.createTime)],
    ["ready", momentText(tenant.readyTime)],
  ]);
}

/** When a tenant is suspended by itself. */
function idleText(policy: IdlePolicy | undefined): string {
  if (policy === undefined || policy.mode === IdleMode.UNSPECIFIED) return "";
  const { mode, threshold } = policy;
  return threshold === undefined ? enumText(IdleModeSchema, mode) : `after ${durationMs(threshold) / 1000} s`;
}

/** A policy in one line, its rules as `--allow` takes them. */
export function egressText(egress: EgressPolicy | undefined): string {
  if (egress === undefined || egress.mode === EgressMode.UNSPECIFIED) return "internet";
  if (egress.mode !== EgressMode.LIST) return enumText(EgressModeSchema, egress.mode);
  return egress.rules
    .map(({ cidr, port, protocol }) => {
      const suffix = protocol === EgressProtocol.UNSPECIFIED ? "" : `/${enumText(EgressProtocolSchema, protocol)}`;
      return `${cidr}${port === 0 ? "" : `:${port}`}${suffix}`;
    })
    .join(" ");
}

/** A state as people say it. */
export function stateText(state: TenantState): string {
  return enumText(TenantStateSchema, state);
}
