import type { TLSSocket } from "node:tls";

/**
 * The one URI among the subject alternative names of a verified certificate, or undefined when there is none, more than
 * one, or a name that Node had to quote: in its list a quoted name may hold ", URI:..." and so look like another entry.
 */
export function soleUri(subjectAltName: string | undefined): string | undefined {
  if (subjectAltName === undefined || subjectAltName.includes('"')) return undefined;
  const uris = subjectAltName.split(", ").filter((entry) => entry.startsWith("URI:"));
  return uris.length === 1 ? uris[0]?.slice(4) : undefined;
}

/** Who is at the other end: the URI of a certificate that the platform's authority signed, else undefined. */
export function peerUri(socket: TLSSocket): string | undefined {
  if (!socket.authorized) return undefined;
  return soleUri(socket.getPeerX509Certificate()?.subjectAltName);
}
