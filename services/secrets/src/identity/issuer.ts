import { refuseReissue } from "../injection/lease.ts";
import type { GuestName, IdentityStore } from "../store/identity-store.ts";
import type { GuestAuthority, GuestLeaf } from "./guest-authority.ts";

/**
 * Issues an identity to one generation of a microVM, which may then acquire its one injection lease. Issued again before that it makes
 * a fresh key under the same name; throws LEASE_USED, STALE_GENERATION or VM_OF_ANOTHER_TENANT otherwise.
 */
export type IssueIdentity = (guest: GuestName, owner: string) => Promise<GuestLeaf>;

export function identityIssuer(parts: {
  authority: GuestAuthority;
  identities: IdentityStore;
  now: () => number;
}): IssueIdentity {
  const { authority, identities, now } = parts;
  return async (guest, owner) => {
    refuseReissue(identities, guest);
    const issueTimeMs = now();
    const leaf = await authority.issue(guest, issueTimeMs);
    try {
      // Asked again: another generation may have been issued, or the lease acquired, while the key was made.
      refuseReissue(identities, guest);
      const { serial, expireTimeMs } = leaf;
      const { tenant, vmId, generation } = guest;
      identities.write({ tenant, vmId, generation, serial, issueTimeMs, expireTimeMs, owner });
      return leaf;
    } catch (error) {
      leaf.privateKeyPem.destroy();
      throw error;
    }
  };
}
