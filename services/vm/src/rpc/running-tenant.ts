import { fail } from "../errors.ts";
import type { TenantRecord, TenantStore } from "../store/tenants.ts";

/** The tenant, if its guest can be asked something. Throws TENANT_NOT_FOUND, TENANT_NOT_RUNNING. */
export function runningTenant(tenants: Pick<TenantStore, "find">, name: string): TenantRecord {
  const tenant = tenants.find(name);
  const metadata = { tenant: name };
  if (tenant === undefined) throw fail("TENANT_NOT_FOUND", `there is no tenant ${name}`, { metadata });
  if (tenant.phase !== "running")
    throw fail("TENANT_NOT_RUNNING", `the tenant ${name} is ${tenant.phase}`, { metadata });
  return tenant;
}
