// The certificate library's dependency injection needs this to be loaded before it.
import "reflect-metadata";
import { type KeyObject, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { algorithm, openSigningAuthority, positiveSerial } from "../identity/signing-authority.ts";

const dayMs = 86_400_000;
/** A service's clock may be a little behind this one's. */
const backdateMs = 5 * 60_000;

/** Signs clients. Its key never leaves it. */
export interface ClientAuthority {
  certify(name: string, publicKey: KeyObject, days: number, nowMs: number): Promise<ClientLeaf>;
}

export interface ClientLeaf {
  readonly certificatePem: string;
  readonly serialNumber: string;
  readonly expireTimeMs: number;
}

/** `spiffe://<trustDomain>/client/<name>`, as services know a client. */
export function clientUri(trustDomain: string, name: string): string {
  return `spiffe://${trustDomain}/client/${name}`;
}

/** Opens the clients CA; throws as `openSigningAuthority` does. No leaf outlasts it. */
export async function openClientAuthority(options: {
  certificatePath: string;
  keyPath: string;
  trustDomain: string;
}): Promise<ClientAuthority> {
  const authority = await openSigningAuthority(options.certificatePath, options.keyPath);
  return {
    async certify(name, publicKey, days, nowMs) {
      const serialNumber = positiveSerial().toUpperCase();
      const expireTimeMs = Math.min(nowMs + days * dayMs, authority.expireTimeMs);
      if (expireTimeMs <= nowMs) throw new Error("the clients authority's certificate has expired");
      const namedCurve = publicKey.asymmetricKeyDetails?.namedCurve === "secp384r1" ? "P-384" : "P-256";
      const leaf = await x509.X509CertificateGenerator.create(
        {
          serialNumber,
          subject: [{ CN: [name] }],
          issuer: authority.subject,
          notBefore: new Date(nowMs - backdateMs),
          notAfter: new Date(expireTimeMs),
          signingAlgorithm: algorithm,
          signingKey: authority.signingKey,
          publicKey: publicKey.toCryptoKey({ name: "ECDSA", namedCurve }, true, ["verify"]),
          extensions: [
            new x509.BasicConstraintsExtension(false, undefined, true),
            new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
            new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
            new x509.SubjectAlternativeNameExtension([{ type: "url", value: clientUri(options.trustDomain, name) }]),
            authority.keyId,
          ],
        },
        webcrypto,
      );
      return { certificatePem: `${leaf.toString("pem")}\n`, serialNumber, expireTimeMs };
    },
  };
}
