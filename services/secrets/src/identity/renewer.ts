import { fail } from "../errors.ts";
import { refuseReissue } from "../injection/lease.ts";
import type { GuestName, IdentityStore } from "../store/identity-store.ts";
import type { GuestAuthority, GuestCertificate } from "./guest-authority.ts";
import { provedGuestKey } from "./guest-key.ts";

/**
 * Certifies a key that a guest made. The generation that was issued last keeps its lease and session; a later one is issued anew, with
 * one lease of its own. Throws GUEST_KEY_REFUSED, LEASE_MISSING, STALE_GENERATION or VM_OF_ANOTHER_TENANT.
 */
export type RenewIdentity = (
  guest: GuestName,
  key: { publicKey: Uint8Array; proof: Uint8Array },
) => Promise<GuestCertificate>;

export function identityRenewer(parts: {
  authority: GuestAuthority;
  identities: IdentityStore;
  trustDomain: string;
  now: () => number;
}): RenewIdentity {
  const { authority, identities, trustDomain, now } = parts;

  function record(guest: GuestName, { serial, expireTimeMs }: GuestCertificate, issueTimeMs: number): void {
    if (identities.renew(guest, serial, expireTimeMs)) return;
    refuseUnknown(guest);
    refuseReissue(identities, guest);
    identities.write({ ...guest, serial, issueTimeMs, expireTimeMs });
  }

  function refuseUnknown({ tenant, vmId }: GuestName): void {
    if (identities.find(vmId) === undefined)
      throw fail("LEASE_MISSING", "no identity was issued for this microVM", { metadata: { tenant, vm_id: vmId } });
  }

  return async ({ tenant, vmId, generation }, { publicKey, proof }) => {
    const guest = { tenant, vmId, generation };
    refuseUnknown(guest);
    const issued = identities.find(vmId);
    if (issued?.generation !== generation || issued.tenant !== tenant) refuseReissue(identities, guest);
    const key = provedGuestKey(trustDomain, guest, publicKey, proof);
    const issueTimeMs = now();
    const certificate = await authority.certify(guest, key, issueTimeMs);
    // Asked again: the identity may have been revoked, or a later one issued, while it was signed.
    record(guest, certificate, issueTimeMs);
    return certificate;
  };
}
