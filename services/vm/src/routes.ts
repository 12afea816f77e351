import { defineRoutes, type Routes } from "@lobsterd/chassis/routes.ts";
import { HostService } from "@lobsterd/proto/lobsterd/vm/v1/host_pb.ts";
import { TenantService } from "@lobsterd/proto/lobsterd/vm/v1/tenant_pb.ts";
import { acquireHold } from "./rpc/acquire-hold.ts";
import { checkHost } from "./rpc/check-host.ts";
import { createBackup } from "./rpc/create-backup.ts";
import { deleteBackup } from "./rpc/delete-backup.ts";
import { drainHost } from "./rpc/drain-host.ts";
import { evictTenant } from "./rpc/evict-tenant.ts";
import { execTenant } from "./rpc/exec-tenant.ts";
import { exportBackup } from "./rpc/export-backup.ts";
import { getHost } from "./rpc/get-host.ts";
import { getTenant } from "./rpc/get-tenant.ts";
import { importBackup } from "./rpc/import-backup.ts";
import { listBackups } from "./rpc/list-backups.ts";
import { listTenants } from "./rpc/list-tenants.ts";
import { releaseHold } from "./rpc/release-hold.ts";
import { repairTenant } from "./rpc/repair-tenant.ts";
import { restoreBackup } from "./rpc/restore-backup.ts";
import { resumeTenant } from "./rpc/resume-tenant.ts";
import { spawnTenant } from "./rpc/spawn-tenant.ts";
import { streamTenantLogs } from "./rpc/stream-tenant-logs.ts";
import { suspendTenant } from "./rpc/suspend-tenant.ts";
import { undrainHost } from "./rpc/undrain-host.ts";
import { updateTenant } from "./rpc/update-tenant.ts";
import { updateTenantEgress } from "./rpc/update-tenant-egress.ts";
import { wakeTenant } from "./rpc/wake-tenant.ts";
import { watchTenants } from "./rpc/watch-tenants.ts";
import type { VmContext } from "./service.ts";

/** Every RPC of `vm` and what answers it. */
export function createRoutes(context: VmContext): readonly Routes[] {
  return [
    defineRoutes(TenantService, {
      spawnTenant: spawnTenant(context),
      getTenant: getTenant(context),
      listTenants: listTenants(context),
      watchTenants: watchTenants(context),
      updateTenantEgress: updateTenantEgress(context),
      updateTenant: updateTenant(context),
      evictTenant: evictTenant(context),
      suspendTenant: suspendTenant(context),
      resumeTenant: resumeTenant(context),
      wakeTenant: wakeTenant(context),
      repairTenant: repairTenant(context),
      execTenant: execTenant(context),
      streamTenantLogs: streamTenantLogs(context),
      acquireHold: acquireHold(context),
      releaseHold: releaseHold(context),
      createBackup: createBackup(context),
      listBackups: listBackups(context),
      restoreBackup: restoreBackup(context),
      deleteBackup: deleteBackup(context),
      exportBackup: exportBackup(context),
      importBackup: importBackup(context),
    }),
    defineRoutes(HostService, {
      getHost: getHost(context),
      checkHost: checkHost(context),
      drainHost: drainHost(context),
      undrainHost: undrainHost(context),
    }),
  ];
}
