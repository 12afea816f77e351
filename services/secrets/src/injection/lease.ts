import { fail } from "../errors.ts";
import type { GuestName, IdentityStore, IssuedIdentity } from "../store/identity-store.ts";

/**
 * The one injection that a generation of a microVM gets.
 *
 * 1. A lease is for one tenant, microVM and generation, and there is one in the life of an identity, used or not.
 * 2. It begins when it is acquired, which `vm` does when the guest's agent has answered: a boot that waits its turn costs nothing of it.
 * 3. It ends after `leaseMs`, with the injection, or with the identity, whichever is first.
 * 4. An identity is not issued anew once its lease was acquired: that would be a second one.
 */
export type AcquireLease = (name: GuestName) => number;

/** The function throws IDENTITY_MISSING, STALE_GENERATION or LEASE_USED, and returns when the lease ends. */
export function leaseIssuer(parts: {
  identities: IdentityStore;
  leaseMs: number;
  now: () => number;
  /** Told of each lease. */
  count: () => void;
}): AcquireLease {
  const { identities, leaseMs, now, count } = parts;
  return (name) => {
    count();
    const metadata = metadataOf(name);
    const issued = identities.find(name.vmId);
    if (!isFor(issued, name)) {
      throw fail("IDENTITY_MISSING", "no identity was issued for this tenant, microVM and generation", { metadata });
    }
    refuseStale(issued, name);
    const expireTimeMs = Math.min(now() + leaseMs, issued.expireTimeMs);
    if (!identities.grantLease(name, expireTimeMs)) {
      throw fail("LEASE_USED", "this generation has had its one injection lease", { metadata });
    }
    return expireTimeMs;
  };
}

/** An identity with its lease. */
export interface LeasedIdentity extends IssuedIdentity {
  readonly leaseExpireTimeMs: number;
}

/** The identity whose lease is open. Throws LEASE_MISSING, STALE_GENERATION, LEASE_USED or LEASE_EXPIRED. */
export function openLease(identities: IdentityStore, name: GuestName, nowMs: number): LeasedIdentity {
  const metadata = metadataOf(name);
  const issued = identities.find(name.vmId);
  if (!isFor(issued, name)) {
    throw fail("LEASE_MISSING", "no lease was acquired for this tenant, microVM and generation", { metadata });
  }
  refuseStale(issued, name);
  const { leaseExpireTimeMs } = issued;
  if (leaseExpireTimeMs === undefined) {
    throw fail("LEASE_MISSING", "no lease was acquired for this tenant, microVM and generation", { metadata });
  }
  if (issued.injectTimeMs !== undefined) {
    throw fail("LEASE_USED", "the one injection of this identity was delivered already", { metadata });
  }
  if (leaseExpireTimeMs <= nowMs) {
    throw fail("LEASE_EXPIRED", "the injection lease of this identity is over", { metadata });
  }
  return { ...issued, leaseExpireTimeMs };
}

/** Refuses to issue an identity that would give a microVM a second lease, an older generation or another tenant. */
export function refuseReissue(identities: IdentityStore, name: GuestName): void {
  const issued = identities.find(name.vmId);
  if (issued === undefined) return;
  const metadata = metadataOf(name);
  if (issued.tenant !== name.tenant) {
    throw fail("VM_OF_ANOTHER_TENANT", "the microVM belongs to another tenant", { metadata });
  }
  refuseStale(issued, name);
  if (issued.generation === name.generation && issued.leaseExpireTimeMs !== undefined) {
    throw fail("LEASE_USED", "this generation has had its lease; a new identity needs a new generation", { metadata });
  }
}

/** Another tenant's microVM looks like none: the answer does not say whose it is. */
function isFor(issued: IssuedIdentity | undefined, name: GuestName): issued is IssuedIdentity {
  return issued !== undefined && issued.tenant === name.tenant && issued.generation >= name.generation;
}

function refuseStale(issued: IssuedIdentity, name: GuestName): void {
  if (issued.generation <= name.generation) return;
  throw fail("STALE_GENERATION", "a newer generation of this microVM was issued", { metadata: metadataOf(name) });
}

function metadataOf({ tenant, vmId, generation }: GuestName): Record<string, string> {
  return { tenant, vm_id: vmId, generation: `${generation}` };
}
