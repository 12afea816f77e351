import { createHash, timingSafeEqual } from "node:crypto";

const bearer = /^Bearer ([A-Za-z0-9_-]{43})$/;

/**
 * True when an `authorization` header holds the token with this SHA-256. Digests are compared, in constant time: neither the token's
 * length nor how much of it was right can be learned from the time this takes.
 */
export function tokenMatches(authorization: string | undefined, digest: Uint8Array): boolean {
  const [, token = ""] = bearer.exec(authorization ?? "") ?? [];
  const presented = createHash("sha256").update(token).digest();
  return timingSafeEqual(presented, digest) && token !== "";
}
