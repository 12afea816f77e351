import { fail } from "../errors.ts";
import { gatewayTokenName } from "../sealed/limits.ts";
import type { OpenedSecret, SealedSecrets } from "../sealed/sealed-secrets.ts";
import type { GuestName, IdentityStore } from "../store/identity-store.ts";
import type { Deliver } from "./guest-delivery.ts";
import type { RefuseOutside } from "./guest-network.ts";
import { openLease } from "./lease.ts";

/** What was delivered: names and versions. */
export type Delivered = readonly { readonly name: string; readonly version: number }[];

/**
 * Injections into guests.
 *
 * 1. An identity's lease is checked before a secret is opened and before anything is dialled.
 * 2. One delivery at a time uses a lease; a second one meanwhile is refused (LEASE_BUSY) and may be tried again.
 * 3. The lease is marked as used after the agent took the secrets and not before: a guest that was not reached keeps it.
 * 4. A shred ends the deliveries under way to what it revokes.
 */
export interface Injector {
  inject(guest: GuestName, address: string, limits: { timeoutMs: number; signal: AbortSignal }): Promise<Delivered>;
  /** Ends the deliveries under way to these microVMs. */
  cut(vmIds: readonly string[]): void;
}

export function openInjector(parts: {
  identities: IdentityStore;
  sealed: SealedSecrets;
  refuseOutside: RefuseOutside;
  deliver: Deliver;
  now: () => number;
}): Injector {
  const { identities, sealed, refuseOutside, deliver, now } = parts;
  const underWay = new Map<string, AbortController>();

  async function openAll(tenant: string): Promise<{ secrets: OpenedSecret[]; token: OpenedSecret }> {
    const token = { name: gatewayTokenName, version: 1, value: await sealed.openGatewayToken(tenant) };
    try {
      return { secrets: await sealed.openBound(tenant), token };
    } catch (error) {
      token.value.destroy();
      throw error;
    }
  }

  async function deliverOnce(
    guest: GuestName,
    address: string,
    limits: { timeoutMs: number; signal: AbortSignal },
  ): Promise<Delivered> {
    const { secrets, token } = await openAll(guest.tenant);
    try {
      await deliver(guest, address, [...secrets, token], limits);
      if (!identities.markInjected(guest, now())) {
        throw fail("LEASE_MISSING", "the identity was revoked while its secrets were delivered");
      }
      return secrets.map(({ name, version }) => ({ name, version }));
    } finally {
      for (const { value } of [...secrets, token]) value.destroy();
    }
  }

  return {
    async inject(guest, address, limits) {
      refuseOutside(address);
      const { leaseExpireTimeMs } = openLease(identities, guest, now());
      if (underWay.has(guest.vmId)) {
        throw fail("LEASE_BUSY", "another injection into this microVM is under way");
      }
      const cut = new AbortController();
      underWay.set(guest.vmId, cut);
      try {
        return await deliverOnce(guest, address, {
          timeoutMs: Math.min(limits.timeoutMs, leaseExpireTimeMs - now()),
          signal: AbortSignal.any([limits.signal, cut.signal]),
        });
      } finally {
        underWay.delete(guest.vmId);
      }
    },

    cut(vmIds) {
      for (const vmId of vmIds) underWay.get(vmId)?.abort(new Error("the identity was revoked"));
    },
  };
}
