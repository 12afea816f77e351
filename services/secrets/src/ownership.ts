import type { Ownership } from "@lobsterd/chassis/owners.ts";
import { fail } from "./errors.ts";
import type { IdentityStore } from "./store/identity-store.ts";

/** Whose tenants are whose, as `vm` said when a guest of theirs got its identity; it ends with the guest. */
export function tenantOwnership(identities: Pick<IdentityStore, "isOwned">): Ownership {
  return {
    owns: (owner, tenant) => identities.isOwned(tenant, owner),
    unknown: (tenant) => fail("TENANT_NOT_FOUND", `there is no tenant ${tenant}`, { metadata: { tenant } }),
  };
}
