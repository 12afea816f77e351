import { Code, ConnectError } from "@connectrpc/connect";
import { codeName, type ServiceError } from "@lobsterd/chassis/errors.ts";
import { fail } from "../errors.ts";

/** What a failed connection is called when nothing was sent yet: there is nobody there, now. */
const connectCodes: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EHOSTDOWN",
  "ETIMEDOUT",
]);

/** True if the connection was not made, so that nothing was sent and another try can help. */
export function isConnectFailure(error: unknown): boolean {
  return error instanceof ConnectError && !error.isWireError && connectCodes.has(systemCode(error));
}

/**
 * Our failure for a delivery that failed. The guest's own words (message, details, reason) are dropped and it is no cause:
 * a hostile agent has just been sent secrets and would see them repeated in our log.
 */
export function guestFailure(error: unknown): ServiceError {
  const failure = ConnectError.from(error);
  if (failure.isWireError) {
    return fail("GUEST_REFUSED", "the guest's agent refused the secrets", {
      metadata: { code: codeName(failure.code) },
    });
  }
  const code = systemCode(failure);
  const isAway = connectCodes.has(code) || failure.code === Code.DeadlineExceeded || failure.code === Code.Canceled;
  if (isAway) return fail("GUEST_UNREACHABLE", "the guest's agent was not reached in time");
  if (isHandshakeFailure(code)) {
    return fail("GUEST_IDENTITY_REFUSED", "what answers there is not the guest it has to be", { metadata: { code } });
  }
  if (failure.code === Code.Unavailable) return fail("GUEST_UNREACHABLE", "the guest's agent went away");
  return fail("GUEST_REFUSED", "the guest's answer cannot be used", { metadata: { code: codeName(failure.code) } });
}

/** Errors of the TLS handshake: our check of the name, OpenSSL's of the chain, and alerts such as a refused version. */
function isHandshakeFailure(code: string): boolean {
  return (
    code === "ERR_PEER_IDENTITY" ||
    code === "EPROTO" ||
    code.startsWith("ERR_SSL_") ||
    code.startsWith("ERR_TLS_") ||
    /(CERT|SIGNATURE|ISSUER|CRL|CA$)/.test(code)
  );
}

function systemCode(error: ConnectError): string {
  const { cause } = error;
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : "";
  return typeof code === "string" && /^[A-Z0-9_]{1,64}$/.test(code) ? code : "";
}
