import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import * as tls from "node:tls";
import { uriNames } from "./caller.ts";
import { type CredentialFiles, readCredential, type TlsCredential } from "./tls-credential.ts";

const connectLimitMs = 5000;

/** Where a server is and who it has to be. */
export interface PeerAddress extends CredentialFiles {
  readonly target: { readonly unixPath: string } | { readonly host: string; readonly port: number };
  /** The one URI name its certificate must have. */
  readonly expectedUri: string;
}

/**
 * Opens a TLS 1.3 connection for HTTP/2, with what the files hold now unless a credential is given. The connection fails unless the
 * peer's chain ends at the given authority and its only URI name is the expected one; DNS names and addresses do not matter, since the URI
 * says more.
 */
export function connectPeer(address: PeerAddress, credential = readCredential(address)): tls.TLSSocket {
  return connectTls(address, credential, true);
}

/**
 * The same for a peer whose certificate may have expired, if everything else about it is right. Resolves with a connection that is ready:
 * HTTP/2 must not be on it before it is known who is there, since Node ends the process when a socket is cut as it takes it over.
 */
export async function connectEvenExpired(address: PeerAddress): Promise<tls.TLSSocket> {
  const credential = readCredential(address);
  const socket = connectTls(address, credential, false);
  await once(socket, "secureConnect");
  // Until HTTP/2 listens, and should it never: an error that nobody hears ends the process.
  socket.on("error", () => undefined);
  const fault = faultOf(socket, credential.ca, address.expectedUri);
  if (fault === undefined) return socket;
  socket.destroy();
  throw fault;
}

function connectTls(address: PeerAddress, credential: TlsCredential, rejectUnauthorized: boolean): tls.TLSSocket {
  const { target } = address;
  const socket = tls.connect({
    ...("unixPath" in target ? { path: target.unixPath } : { host: target.host, port: target.port }),
    // No SNI for a Unix socket or an address: the guest's agent and the services have one certificate each.
    servername: "",
    minVersion: "TLSv1.3",
    ALPNProtocols: ["h2"],
    cert: credential.cert,
    key: credential.key,
    ca: credential.ca,
    rejectUnauthorized,
    checkServerIdentity: (_host, certificate) => checkUri(certificate.subjectaltname ?? "", address.expectedUri),
  });
  // A host that swallows packets, or a process that accepts and stalls, would otherwise hold its callers to their deadline.
  const timer = setTimeout(() => {
    socket.destroy(Object.assign(new Error("TLS connection was not ready in time"), { code: "ETIMEDOUT" }));
  }, connectLimitMs);
  timer.unref();
  socket.once("secureConnect", () => clearTimeout(timer));
  socket.once("close", () => clearTimeout(timer));
  return socket;
}

/** OpenSSL names the last fault that it met, so an expiry can hide a wrong signature: all the others are looked for again. */
function faultOf(socket: tls.TLSSocket, caPem: Buffer, expectedUri: string): Error | undefined {
  const certificate = socket.getPeerX509Certificate();
  const ca = new X509Certificate(caPem);
  const isSound =
    certificate !== undefined &&
    !certificate.ca &&
    certificate.checkIssued(ca) &&
    certificate.verify(ca.publicKey) &&
    (socket.authorized || String(socket.authorizationError) === "CERT_HAS_EXPIRED");
  return checkUri(isSound ? (certificate.subjectAltName ?? "") : "", expectedUri);
}

function checkUri(subjectAltName: string, expected: string): Error | undefined {
  const uris = uriNames(subjectAltName);
  if (uris.length === 1 && uris[0] === expected) return undefined;
  return Object.assign(new Error(`peer is not ${expected}`), { code: "ERR_PEER_IDENTITY" });
}
