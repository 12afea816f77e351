import { fail } from "../errors.ts";
import type { GuestSession, IdentityStore } from "../store/identity-store.ts";
import type { Delivered, Deliveries, DeliveryLimits } from "./deliveries.ts";
import type { RefuseOutside } from "./guest-network.ts";
import { openLease } from "./lease.ts";

/**
 * The one injection of a guest, which opens its session: from then on it gets new versions by itself (`rotation.ts`).
 *
 * 1. The identity's lease is checked before a secret is opened and before anything is dialled.
 * 2. The lease is marked as used after the agent took the secrets and not before: a guest that was not reached keeps it.
 */
export type Inject = (guest: GuestSession, limits: DeliveryLimits) => Promise<Delivered>;

export function injector(parts: {
  identities: IdentityStore;
  deliveries: Deliveries;
  refuseOutside: RefuseOutside;
  now: () => number;
}): Inject {
  const { identities, deliveries, refuseOutside, now } = parts;
  return async (guest, { timeoutMs, signal }) => {
    refuseOutside(guest.guestAddress);
    const { leaseExpireTimeMs } = openLease(identities, guest, now());
    const limits = { timeoutMs: Math.min(timeoutMs, leaseExpireTimeMs - now()), signal };
    return await deliveries.send(guest, limits, () => {
      if (identities.markInjected(guest, now())) return;
      throw fail("LEASE_MISSING", "the identity was revoked while its secrets were delivered");
    });
  };
}
