/** As in the proto's TenantRepair. */
export const repairActions = [
  "resume-tenant",
  "boot-guest",
  "restart-workload",
  "reattach-network",
  "repair-rules",
  "publish-route",
] as const;
export type RepairAction = (typeof repairActions)[number];

/** Why a tenant is FAILED: what the watchdog found and could not mend, or that neither its memory nor its disk could be brought back. */
export const tenantFaults = ["VMM_EXITED", "AGENT_SILENT", "WORKLOAD_UNHEALTHY", "RESUME_FAILED"] as const;
export type TenantFault = (typeof tenantFaults)[number];
