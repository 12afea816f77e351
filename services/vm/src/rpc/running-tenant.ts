import { fail, tenantNotFound } from "../errors.ts";
import type { TenantRecord, TenantStore } from "../store/tenants.ts";

/** The tenant, if its guest can be asked something. Throws TENANT_NOT_FOUND, TENANT_NOT_RUNNING. */
export function runningTenant(tenants: Pick<TenantStore, "find">, name: string): TenantRecord {
  const tenant = tenants.find(name);
  if (tenant === undefined) throw tenantNotFound(name);
  if (tenant.phase !== "running") {
    throw fail("TENANT_NOT_RUNNING", `the tenant ${name} is ${tenant.phase}`, { metadata: { tenant: name } });
  }
  return tenant;
}
