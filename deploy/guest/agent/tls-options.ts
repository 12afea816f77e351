import { constants } from "node:crypto";
import type { TlsOptions } from "node:tls";
import type { Identity } from "./identity.ts";

/**
 * TLS as both ports of a guest speak it: 1.3 only, a client certificate signed by the platform's authority or no connection, and no
 * session tickets, so that no key in this guest's memory opens a later session.
 */
export function guestTlsOptions(identity: Identity): TlsOptions {
  return {
    key: identity.privateKeyPem,
    cert: identity.certificatePem,
    ca: identity.platformCaPem,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    secureOptions: constants.SSL_OP_NO_TICKET,
    handshakeTimeout: 3_000,
  };
}
