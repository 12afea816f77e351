import { fail } from "../errors.ts";
import type { GuestName, IdentityStore, IssuedIdentity } from "../store/identity-store.ts";

/**
 * The identity whose one injection is still open. A lease is for one tenant, microVM and generation, until it is used or
 * over. Throws LEASE_MISSING, STALE_GENERATION, LEASE_USED or LEASE_EXPIRED.
 */
export function openLease(identities: IdentityStore, name: GuestName, nowMs: number): IssuedIdentity {
  const issued = identities.find(name.vmId);
  const metadata = { tenant: name.tenant, vm_id: name.vmId, generation: `${name.generation}` };
  // Another tenant's microVM looks like none: the answer does not say whose it is.
  if (issued === undefined || issued.tenant !== name.tenant || issued.generation < name.generation) {
    throw fail("LEASE_MISSING", "no identity was issued for this tenant, microVM and generation", { metadata });
  }
  if (issued.generation > name.generation) {
    throw fail("STALE_GENERATION", "a newer generation of this microVM was issued", { metadata });
  }
  if (issued.injectTimeMs !== undefined) {
    throw fail("LEASE_USED", "the one injection of this identity was delivered already", { metadata });
  }
  if (issued.leaseExpireTimeMs <= nowMs) {
    throw fail("LEASE_EXPIRED", "the injection lease of this identity is over", { metadata });
  }
  return issued;
}

/** Refuses to issue an identity that would give a microVM a second injection, an older generation or another tenant. */
export function refuseReissue(identities: IdentityStore, name: GuestName): void {
  const issued = identities.find(name.vmId);
  if (issued === undefined) return;
  const metadata = { vm_id: name.vmId, generation: `${name.generation}` };
  if (issued.tenant !== name.tenant) {
    throw fail("VM_OF_ANOTHER_TENANT", "the microVM belongs to another tenant", { metadata });
  }
  if (issued.generation > name.generation) {
    throw fail("STALE_GENERATION", "a newer generation of this microVM was issued", { metadata });
  }
  if (issued.generation === name.generation && issued.injectTimeMs !== undefined) {
    throw fail("LEASE_USED", "this generation has its secrets already; a new one needs a new generation", { metadata });
  }
}
