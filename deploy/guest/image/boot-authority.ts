import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

/** A certificate with its key, both PEM. */
export type Leaf = { readonly certificatePem: string; readonly privateKeyPem: string };

export type LeafRequest = {
  readonly uri: string;
  /** More URIs, to see that a certificate with more than one names nobody. */
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  /** Default: valid for an hour from a minute ago. */
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Certifies this key instead of a new one, whose private half is then somewhere else. */
  readonly publicKey?: webcrypto.CryptoKey;
};

/** A throw-away authority for boots outside a stack: its key lives in this process only. */
export type Authority = {
  readonly certificatePem: string;
  /** The authority's own certificate and key, to see that it speaks for nobody itself. */
  readonly self: Leaf;
  issue(request: LeafRequest): Promise<Leaf>;
};

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const minuteMs = 60_000;

function serial(): string {
  return `01${randomBytes(15).toString("hex")}`;
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const bytes = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key)).toString("base64");
  return `-----BEGIN PRIVATE KEY-----\n${bytes.replace(/(.{64})/g, "$1\n").trimEnd()}\n-----END PRIVATE KEY-----\n`;
}

/** `uri` stands in the authority's own certificate; authorities have none by themselves. */
export async function createAuthority(name: string, uri?: string): Promise<Authority> {
  x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0]);
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const notBefore = new Date(Date.now() - minuteMs);
  const notAfter = new Date(Date.now() + 60 * minuteMs);
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=${name}`,
    notBefore,
    notAfter,
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      ...(uri === undefined ? [] : [new x509.SubjectAlternativeNameExtension([{ type: "url", value: uri }])]),
    ],
  });
  const certificatePem = `${authority.toString("pem")}\n`;
  return {
    certificatePem,
    self: { certificatePem, privateKeyPem: await exportKey(keys.privateKey) },
    async issue(request) {
      const leafKeys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
      const names: x509.JsonGeneralNames = [
        ...[request.uri, ...(request.uris ?? [])].map((value) => ({ type: "url" as const, value })),
        ...(request.dns ?? []).map((value) => ({ type: "dns" as const, value })),
      ];
      const leaf = await x509.X509CertificateGenerator.create({
        serialNumber: serial(),
        issuer: authority.subject,
        subject: "CN=boot",
        notBefore: request.notBefore ?? notBefore,
        notAfter: request.notAfter ?? notAfter,
        signingAlgorithm: algorithm,
        publicKey: request.publicKey ?? leafKeys.publicKey,
        signingKey: keys.privateKey,
        extensions: [new x509.SubjectAlternativeNameExtension(names, true)],
      });
      return { certificatePem: `${leaf.toString("pem")}\n`, privateKeyPem: await exportKey(leafKeys.privateKey) };
    },
  };
}
