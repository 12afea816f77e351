import { type AccessRule, allow } from "@lobsterd/chassis/access.ts";
import { HostService } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";

const write = ["role:operator"] as const;
const read = ["role:operator", "role:viewer"] as const;

/** Who may call what. Anything not named here is refused before its body is read. */
export const access: readonly AccessRule[] = [
  allow(TenantService, {
    spawnTenant: write,
    getTenant: read,
    listTenants: read,
    watchTenants: read,
    updateTenantEgress: write,
    updateTenant: write,
    evictTenant: write,
    suspendTenant: write,
    resumeTenant: write,
    // For requests that nobody has proved to be anybody's: the budgets of a wake are what stands between them and the host.
    wakeTenant: ["service:proxy"],
    repairTenant: write,
    execTenant: write,
    streamTenantLogs: write,
    acquireHold: write,
    releaseHold: write,
    createBackup: write,
    listBackups: read,
    restoreBackup: write,
    deleteBackup: write,
    exportBackup: write,
    importBackup: write,
  }),
  allow(HostService, { getHost: read, checkHost: read, drainHost: write, undrainHost: write }),
];
