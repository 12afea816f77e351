import { fail } from "../errors.ts";
import { gatewayTokenName } from "../sealed/limits.ts";
import type { OpenedSecret, SealedSecrets } from "../sealed/sealed-secrets.ts";
import { encodeTarget } from "../sealed/targets.ts";
import type { DeliveryStore } from "../store/delivery-store.ts";
import type { GuestSession } from "../store/identity-store.ts";
import type { Deliver } from "./guest-delivery.ts";

/** What was delivered: names and versions. */
export type Delivered = readonly { readonly name: string; readonly version: number }[];

export interface DeliveryLimits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Sends guests their whole set of secrets.
 *
 * 1. One delivery at a time to a microVM; a second one meanwhile is refused (LEASE_BUSY).
 * 2. What is opened is destroyed when the delivery is over, however it ends.
 * 3. Nothing is recorded before the agent took the set.
 * 4. `cut` ends what is under way to microVMs whose identity is gone.
 */
export interface Deliveries {
  /** Sends the set and calls `taken` in the same turn in which the agent's answer is known. */
  send(session: GuestSession, limits: DeliveryLimits, taken: () => void): Promise<Delivered>;
  cut(vmIds: readonly string[]): void;
}

export function openDeliveries(parts: {
  sealed: SealedSecrets;
  store: DeliveryStore;
  deliver: Deliver;
  now: () => number;
}): Deliveries {
  const { sealed, store, deliver, now } = parts;
  const underWay = new Map<string, AbortController>();

  async function openAll({ tenant, labels }: GuestSession): Promise<{ secrets: OpenedSecret[]; token: OpenedSecret }> {
    const value = await sealed.openGatewayToken(tenant, "guest");
    const token = { owner: tenant, name: gatewayTokenName, version: 1, target: { kind: "file" }, value } as const;
    try {
      return { secrets: await sealed.openForGuest(tenant, labels), token };
    } catch (error) {
      value.destroy();
      throw error;
    }
  }

  async function sendOpened(session: GuestSession, limits: DeliveryLimits, taken: () => void): Promise<Delivered> {
    const { secrets, token } = await openAll(session);
    try {
      await deliver(session, session.guestAddress, [...secrets, token], limits);
      taken();
      store.replace(
        session.vmId,
        secrets.map(({ owner, name, version, target }) => ({ owner, name, version, target: encodeTarget(target) })),
        now(),
      );
      return secrets.map(({ name, version }) => ({ name, version }));
    } finally {
      for (const { value } of [...secrets, token]) value.destroy();
    }
  }

  return {
    async send(session, limits, taken) {
      if (underWay.has(session.vmId)) {
        throw fail("LEASE_BUSY", "another injection into this microVM is under way");
      }
      const cut = new AbortController();
      underWay.set(session.vmId, cut);
      try {
        return await sendOpened(
          session,
          { timeoutMs: limits.timeoutMs, signal: AbortSignal.any([limits.signal, cut.signal]) },
          taken,
        );
      } finally {
        underWay.delete(session.vmId);
      }
    },

    cut(vmIds) {
      for (const vmId of vmIds) underWay.get(vmId)?.abort(new Error("the identity was revoked"));
    },
  };
}
