import { createHash, timingSafeEqual } from "node:crypto";

function digest(value: string | Buffer): Buffer {
  return createHash("sha256").update(value).digest();
}

/**
 * Whether an Authorization header carries the token. Digests are compared, so neither the time nor a length check
 * tells anything about the token.
 */
export function isBearer(authorization: string | undefined, token: Buffer): boolean {
  const presented = /^Bearer ([\x21-\x7e]{1,4096})$/i.exec(authorization ?? "")?.[1];
  return presented !== undefined && token.length > 0 && timingSafeEqual(digest(presented), digest(token));
}
