import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { fail } from "../errors.ts";
import type { GuestName } from "../store/identity-store.ts";
import { guestUri } from "./guest-name.ts";

/** Everything of a SubjectPublicKeyInfo of EC P-256 before its uncompressed point of 64 bytes, DER. */
const prefix = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "hex");
const pointBytes = 64;
const proofContext = "lobsterd guest key v1";

/**
 * The public key that a guest made, once it is proved that the guest has the other half of it. Its form is fixed to the byte, so that
 * nothing parses what a hostile guest has written. Throws GUEST_KEY_REFUSED.
 */
export function provedGuestKey(
  trustDomain: string,
  guest: GuestName,
  publicKey: Uint8Array,
  proof: Uint8Array,
): KeyObject {
  const isP256 = publicKey.length === prefix.length + pointBytes && prefix.equals(publicKey.subarray(0, prefix.length));
  if (!isP256) throw refused("is not an EC P-256 key");
  const key = opened(publicKey);
  const proved = Buffer.concat([Buffer.from(`${proofContext}\0${guestUri(trustDomain, guest)}\0`), publicKey]);
  if (!verify("sha256", proved, { key, dsaEncoding: "ieee-p1363" }, proof))
    throw refused("comes without a proof for this guest");
  return key;
}

function refused(why: string) {
  return fail("GUEST_KEY_REFUSED", `the guest's key ${why}`);
}

function opened(publicKey: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(publicKey), format: "der", type: "spki" });
  } catch {
    // The point is not on the curve.
    throw refused("is not an EC P-256 key");
  }
}
