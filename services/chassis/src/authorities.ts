import { X509Certificate } from "node:crypto";
import type { Authority } from "./caller.ts";
import type { CredentialSource } from "./tls-credential.ts";

/**
 * Tells which authority signed a certificate. OpenSSL says that a chain ends at one of them, and not at which: here the authority's own key has
 * to have made the signature, so no authority below one counts, and a name that both have decides nothing.
 */
export function tellAuthorities(credential: CredentialSource): (certificate: X509Certificate) => Authority | undefined {
  let known = parsed(credential());
  return (certificate) => {
    const current = credential();
    if (current.stamp !== known.stamp) known = parsed(current);
    const isSigned = (issuer: X509Certificate) =>
      certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
    if (known.platform.some(isSigned)) return "platform";
    return known.clients.some(isSigned) ? "clients" : undefined;
  };
}

function parsed({ stamp, ca, clientsCa }: ReturnType<CredentialSource>) {
  return { stamp, platform: certificatesOf(ca), clients: clientsCa === undefined ? [] : certificatesOf(clientsCa) };
}

/** A file of authorities may hold several. */
function certificatesOf(pem: Buffer): readonly X509Certificate[] {
  const blocks = pem.toString("latin1").match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}
