import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Tenant, TenantSchema, TenantState } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import type { Config } from "./config.ts";
import { toIdleMessage } from "./idle/policy.ts";
import { toEgressMessage } from "./network-policy.ts";
import type { TenantPhase, TenantRecord } from "./store/tenant-record.ts";

const states: Readonly<Record<TenantPhase, TenantState>> = {
  spawning: TenantState.SPAWNING,
  running: TenantState.RUNNING,
  evicting: TenantState.EVICTING,
  failed: TenantState.FAILED,
  suspending: TenantState.SUSPENDING,
  suspended: TenantState.SUSPENDED,
  resuming: TenantState.RESUMING,
};

/** The wire form of a tenant. */
export function toTenantMessage(
  tenant: TenantRecord,
  config: Pick<Config, "hostId" | "domain" | "publicHttpsPort">,
): Tenant {
  const port = config.publicHttpsPort === 443 ? "" : `:${config.publicHttpsPort}`;
  return create(TenantSchema, {
    name: tenant.name,
    state: states[tenant.phase],
    hostId: config.hostId,
    vmId: tenant.vmId,
    generation: tenant.generation,
    image: tenant.image,
    resources: tenant.resources,
    url: `https://${tenant.name}.${config.domain}${port}/`,
    labels: { ...tenant.labels },
    createTime: timestampFromMs(tenant.createTimeMs),
    ...(tenant.readyTimeMs === undefined ? {} : { readyTime: timestampFromMs(tenant.readyTimeMs) }),
    failureReason: tenant.failureReason,
    ...(tenant.nextResources && {
      nextResources: { ...tenant.nextResources, diskMib: tenant.resources.diskMib },
    }),
    slot: tenant.slot,
    egress: toEgressMessage(tenant.egress),
    networkLimits: tenant.networkLimits,
    extraHostNames: [...tenant.extraHostNames],
    idlePolicy: toIdleMessage(tenant.idlePolicy),
    sleepCause: tenant.sleepCause,
    ...(tenant.phase === "suspended" && tenant.wakeTimeMs !== undefined
      ? { nextWakeTime: timestampFromMs(tenant.wakeTimeMs) }
      : {}),
    owner: tenant.owner,
    bootOrigin: tenant.bootOrigin,
  });
}
