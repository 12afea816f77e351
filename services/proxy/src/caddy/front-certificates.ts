/**
 * Where the front's certificates come from, as pieces of Caddy's configuration. Certificates that Caddy makes or orders by itself, in a
 * handshake, are only for names that are published: it asks for each one first.
 */

import type { Json } from "./canonical-json.ts";

/** A certificate with its chain, PEM, and its key. */
export type CertificateFiles = { readonly certificatePath: string; readonly keyPath: string };

export type FrontCertificates =
  /** Made and renewed by somebody else, who then writes the stamp. One of them is for `*.<domain>`. */
  | { readonly kind: "files"; readonly pairs: readonly CertificateFiles[] }
  /** By Caddy's own authority, which no browser trusts: for development. */
  | { readonly kind: "internal"; readonly askPort: number }
  | AcmeCertificates;

/**
 * One for each published name, by ACME (RFC 8555) with HTTP-01 and TLS-ALPN-01. Not for `*.<domain>`: that takes DNS-01, and Debian's
 * Caddy has no DNS provider.
 */
export type AcmeCertificates = {
  readonly kind: "acme";
  readonly directoryUrl: string;
  /** Whom the authority writes to about its certificates. */
  readonly email: string;
  /** Trusted for the authority's own HTTPS instead of the machine's authorities. */
  readonly trustedRootPath?: string | undefined;
  readonly askPort: number;
};

/** Tags the files, so that no other certificate is ever chosen. */
const filesTag = "front";

export function certificateApps(certificates: FrontCertificates, domain: string): { tls: Json; pki?: Json } {
  switch (certificates.kind) {
    case "files": {
      const files = certificates.pairs.map(({ certificatePath, keyPath }) => ({
        ...{ certificate: certificatePath, key: keyPath, tags: [filesTag] },
      }));
      return { tls: { certificates: { load_files: files } } };
    }
    case "internal": {
      const issuers = [{ module: "internal" }];
      const subjects = [domain, `*.${domain}`];
      return {
        tls: {
          certificates: { automate: subjects },
          automation: {
            policies: [
              { subjects, issuers },
              { issuers, on_demand: true },
            ],
            on_demand: onDemand(certificates),
          },
        },
        // Without this Caddy tries to put its authority into the machine's trust store.
        pki: { certificate_authorities: { local: { install_trust: false } } },
      };
    }
    case "acme": {
      const { directoryUrl, email, trustedRootPath } = certificates;
      const roots = trustedRootPath === undefined ? {} : { trusted_roots_pem_files: [trustedRootPath] };
      const issuers = [{ module: "acme", ca: directoryUrl, email, ...roots }];
      return { tls: { automation: { policies: [{ issuers, on_demand: true }], on_demand: onDemand(certificates) } } };
    }
  }
}

/** The part of the front's TLS policy that chooses a certificate. */
export function certificateSelection({ kind }: FrontCertificates): { certificate_selection?: Json } {
  return kind === "files" ? { certificate_selection: { any_tag: [filesTag] } } : {};
}

export function isOnDemand<T extends FrontCertificates>(
  certificates: T,
): certificates is Exclude<T, { kind: "files" }> {
  return certificates.kind !== "files";
}

/** Anybody may start a handshake with a published name; an authority that fails must not be asked without end. */
function onDemand({ askPort }: { readonly askPort: number }): Json {
  return { ask: `http://127.0.0.1:${askPort}/`, rate_limit: { interval: "1m", burst: 60 } };
}
