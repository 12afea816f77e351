import { type AccessRule, allow } from "@lobsterd/chassis/access.ts";
import { HostService } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";

const write = ["role:operator"] as const;
const read = ["role:operator", "role:viewer"] as const;

const ownerWrites = [...write, "owner:name"] as const;
const ownerReads = [...read, "owner:name"] as const;

/**
 * Who may call what. An owner does with its own tenants what concerns nobody else. It spawns none and changes no limits, since a host has one capacity and no
 * quotas; nor does it restore, which makes a tenant of what may be nobody's by then.
 * Anything not named here is refused before its body is read.
 */
export const access: readonly AccessRule[] = [
  allow(TenantService, {
    spawnTenant: write,
    getTenant: ownerReads,
    listTenants: [...read, "owner"],
    watchTenants: [...read, "owner"],
    updateTenantEgress: write,
    updateTenant: write,
    evictTenant: ownerWrites,
    suspendTenant: ownerWrites,
    resumeTenant: ownerWrites,
    // For requests that nobody has proved to be anybody's: the budgets of a wake are what stands between them and the host.
    wakeTenant: ["service:proxy"],
    repairTenant: ownerWrites,
    execTenant: [...write, "owner:message.value.name"],
    streamTenantLogs: ownerWrites,
    acquireHold: ownerWrites,
    releaseHold: ownerWrites,
    createBackup: write,
    listBackups: ownerReads,
    restoreBackup: write,
    deleteBackup: write,
    exportBackup: write,
    importBackup: write,
  }),
  allow(HostService, { getHost: read, checkHost: read, drainHost: write, undrainHost: write }),
];
