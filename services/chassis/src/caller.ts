import type { X509Certificate } from "node:crypto";
import { Code, createContextKey, type HandlerContext } from "@connectrpc/connect";
import type { IssuedClients } from "./client-list.ts";
import { defineErrors } from "./errors.ts";

export type Role = "operator" | "viewer" | "owner";

/** What root says of a client's name. */
export type Standing = Role | "revoked";

/** Who made a call, from the verified peer certificate and nothing else. A stranger is verified but has no role. */
export type Caller =
  | { readonly kind: "service"; readonly name: string; readonly uri: string }
  | { readonly kind: "client"; readonly name: string; readonly uri: string; readonly role: Role }
  | { readonly kind: "stranger"; readonly uri: string };

/** Who signed a certificate: the platform's CA, or the one that `secrets` issues clients with, which is believed less (ADR 0047). */
export type Authority = "platform" | "clients";

/** What the connection proved: a caller, or why it proved nothing. */
export type Peer =
  | {
      readonly verified: true;
      readonly authority: Authority;
      readonly uri: string;
      readonly serialNumber: string;
      readonly notAfterMs: number;
    }
  | {
      readonly verified: false;
      readonly reason: "CERTIFICATE_REQUIRED" | "CERTIFICATE_INVALID";
      readonly detail: string;
    };

/** The part of a TLS socket that identity is read from. */
export interface PeerSocket {
  readonly encrypted?: boolean;
  readonly authorized?: boolean;
  readonly authorizationError?: unknown;
  getPeerX509Certificate?(): X509Certificate | undefined;
}

export const callerKey = createContextKey<Caller | undefined>(undefined, { description: "verified caller" });

const fail = defineErrors("lobsterd", { CERTIFICATE_REQUIRED: Code.Unauthenticated });

/** The caller of the request being handled. */
export function callerOf(context: Pick<HandlerContext, "values">): Caller {
  const caller = context.values.get(callerKey);
  if (caller === undefined) throw fail("CERTIFICATE_REQUIRED", "a client certificate is required");
  return caller;
}

/** SPIFFE URI of a caller, as audit records it. */
export function callerName(caller: Caller): string {
  return caller.uri;
}

/** Identity of the other end of a TLS connection whose chain Node verified against the authorities that `authorityOf` tells apart. */
export function peerOf(socket: PeerSocket, authorityOf: (certificate: X509Certificate) => Authority | undefined): Peer {
  if (socket.encrypted !== true) return unverified("CERTIFICATE_REQUIRED", "connection is not encrypted");
  const certificate = socket.getPeerX509Certificate?.();
  if (certificate === undefined) return unverified("CERTIFICATE_REQUIRED", "no client certificate");
  if (socket.authorized !== true) {
    const { authorizationError: cause } = socket;
    return unverified("CERTIFICATE_INVALID", cause instanceof Error ? cause.message : String(cause ?? "unverified"));
  }
  const uris = uriNames(certificate.subjectAltName ?? "");
  const [uri] = uris;
  if (uri === undefined || uris.length !== 1) {
    return unverified("CERTIFICATE_INVALID", `certificate has ${uris.length} URI names instead of one`);
  }
  const authority = authorityOf(certificate);
  if (authority === undefined) return unverified("CERTIFICATE_INVALID", "certificate is signed by no authority itself");
  const { serialNumber, validToDate } = certificate;
  return { verified: true, authority, uri, serialNumber, notAfterMs: validToDate.getTime() };
}

/** `peerOf`, once for each connection: TLS 1.3 has no renegotiation, and reading a certificate costs 0.1 ms. */
export function rememberPeers(
  authorityOf: (certificate: X509Certificate) => Authority | undefined,
): (socket: PeerSocket) => Peer {
  const peers = new WeakMap<PeerSocket, Peer>();
  return (socket) => {
    const known = peers.get(socket);
    if (known !== undefined) return known;
    const peer = peerOf(socket, authorityOf);
    peers.set(socket, peer);
    return peer;
  };
}

/** Why a certificate that was good at the handshake is not any more; `undefined` if it is. */
export function endOf(
  peer: Peer,
  { revoked, issued }: { readonly revoked: ReadonlySet<string>; readonly issued: IssuedClients },
  nowMs: number = Date.now(),
): "CERTIFICATE_INVALID" | "CERTIFICATE_REVOKED" | undefined {
  if (!peer.verified) return undefined;
  // Each list counts for its own authority: `secrets` could otherwise revoke the platform's certificates.
  const isOver =
    peer.authority === "platform" ? revoked.has(peer.serialNumber) : issued.get(peer.serialNumber)?.uri !== peer.uri;
  if (isOver) return "CERTIFICATE_REVOKED";
  return peer.notAfterMs <= nowMs ? "CERTIFICATE_INVALID" : undefined;
}

/** Names a verified URI. Only this trust domain has services and clients; a client without a role is a stranger. */
export function identify(uri: string, trustDomain: string, roles: ReadonlyMap<string, Standing>): Caller {
  const [kind, name, ...rest] = uri.startsWith(`spiffe://${trustDomain}/`)
    ? uri.slice(`spiffe://${trustDomain}/`.length).split("/")
    : [];
  if (name === undefined || rest.length > 0 || !/^[a-z0-9][a-z0-9.-]{0,62}$/.test(name))
    return { kind: "stranger", uri };
  if (kind === "svc") return { kind: "service", name, uri };
  const role = roles.get(uri);
  if (kind !== "client" || role === undefined || role === "revoked") return { kind: "stranger", uri };
  return { kind: "client", name, uri, role };
}

/**
 * Names a certificate of the clients' authority: a client with the role that it was issued with, whatever else it says. A name that has or had a role
 * from the platform is the platform's, so that an authority that was taken over cannot take up people of the other one.
 */
export function identifyIssued(
  { uri, serialNumber }: { readonly uri: string; readonly serialNumber: string },
  trustDomain: string,
  issued: IssuedClients,
  roles: ReadonlyMap<string, Standing>,
): Caller {
  const client = issued.get(serialNumber);
  if (client?.uri !== uri || roles.has(uri)) return { kind: "stranger", uri };
  const caller = identify(uri, trustDomain, new Map([[uri, client.role]]));
  return caller.kind === "client" ? caller : { kind: "stranger", uri };
}

/**
 * URI names of a subjectAltName as Node prints it. Node quotes a name that holds a comma or a quote, so a name such as
 * `DNS:"x, URI:spiffe://…"` must be skipped as a whole: searching the text for `URI:` would believe it.
 */
export function uriNames(subjectAltName: string): string[] {
  const uris: string[] = [];
  const entries = /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g;
  for (const [, kind, raw = ""] of subjectAltName.matchAll(entries)) {
    if (kind !== "URI") continue;
    uris.push(raw.startsWith('"') ? String(JSON.parse(raw)) : raw);
  }
  return uris;
}

function unverified(reason: "CERTIFICATE_REQUIRED" | "CERTIFICATE_INVALID", detail: string): Peer {
  return { verified: false, reason, detail };
}
