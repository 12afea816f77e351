import { fail, tenantNotFound } from "../errors.ts";
import type { TenantRecord } from "../store/tenant-record.ts";
import type { TenantStore } from "../store/tenants.ts";

/** The tenant, if its guest can be asked something. Throws TENANT_NOT_FOUND, TENANT_NOT_RUNNING. */
export function runningTenant(tenants: Pick<TenantStore, "find">, name: string): TenantRecord {
  return tenantThat((tenant) => tenant.phase === "running", tenants, name);
}

/** The tenant, if its guest has an address: one that is spawned is heard before it is ready. Throws TENANT_NOT_FOUND, TENANT_NOT_RUNNING. */
export function tenantWithGuest(tenants: Pick<TenantStore, "find">, name: string): TenantRecord {
  const hasGuest = ({ phase, guestAddress }: TenantRecord) =>
    phase === "running" || (phase === "spawning" && guestAddress !== "");
  return tenantThat(hasGuest, tenants, name);
}

function tenantThat(fits: (tenant: TenantRecord) => boolean, tenants: Pick<TenantStore, "find">, name: string) {
  const tenant = tenants.find(name);
  if (tenant === undefined) throw tenantNotFound(name);
  if (fits(tenant)) return tenant;
  throw fail("TENANT_NOT_RUNNING", `the tenant ${name} is ${tenant.phase}`, { metadata: { tenant: name } });
}
