import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { soleUri } from "./peer.ts";

/** Whether a certificate's time has come. `early`: everything but its first day is right. */
export type Standing = "valid" | "early" | "expired";

/** Who is at the other end of a connection: what its certificate says, which the platform's authority signed. */
export type Caller = { readonly uri: string; readonly validFromMs: number; readonly validToMs: number };

const clientAuth = "1.3.6.1.5.5.7.3.2";

export function standingOf({ validFromMs, validToMs }: Caller, nowMs: number): Standing {
  if (nowMs > validToMs) return "expired";
  return nowMs < validFromMs ? "early" : "valid";
}

/**
 * The caller at the other end, or undefined when its certificate is absent, has not exactly one URI, is not the platform's, or has any
 * other fault than being of the future. That one fault is let through: a guest whose clock is behind, as after a resume, sees it in
 * every certificate of its host, and `access.ts` lets such a caller set the clock and do nothing else.
 */
export function callerOf(socket: TLSSocket, authority: X509Certificate): Caller | undefined {
  const certificate = socket.getPeerX509Certificate();
  const uri = soleUri(certificate?.subjectAltName);
  if (certificate === undefined || uri === undefined) return undefined;
  const caller = {
    uri,
    validFromMs: certificate.validFromDate.getTime(),
    validToMs: certificate.validToDate.getTime(),
  };
  if (socket.authorized) return caller;
  // OpenSSL names the last fault that it met, so a fault of time can hide a wrong signature: all the others are looked for again.
  const isOnlyEarly =
    String(socket.authorizationError) === "CERT_NOT_YET_VALID" &&
    certificate.checkIssued(authority) &&
    certificate.verify(authority.publicKey) &&
    !certificate.ca &&
    (certificate.keyUsage ?? [clientAuth]).includes(clientAuth);
  return isOnlyEarly ? caller : undefined;
}
