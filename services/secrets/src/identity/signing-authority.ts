// The certificate library's dependency injection needs this to be loaded before it.
import "reflect-metadata";
import { createPrivateKey, type KeyObject, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import * as x509 from "@peculiar/x509";
import { readPrivateFile } from "../root-key/private-file.ts";

const maxKeyFileBytes = 16 * 1024;
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A leaf to be signed: it signs nothing itself. Times are milliseconds since 1970. */
export interface LeafOrder {
  readonly commonName: string;
  readonly names: readonly { readonly type: "url" | "dns"; readonly value: string }[];
  readonly usage: "serverAuth" | "clientAuth";
  readonly beginMs: number;
  readonly expireTimeMs: number;
  readonly publicKey: KeyObject;
  /** Of the key, which is refused with any other. */
  readonly curve: "P-256" | "P-384";
}

/** An authority whose key this process has; it never leaves it. */
export interface SigningAuthority {
  readonly expireTimeMs: number;
  sign(leaf: LeafOrder): Promise<SignedLeaf>;
}

export interface SignedLeaf {
  readonly certificatePem: string;
  /** Lower-case hexadecimal. */
  readonly serial: string;
}

/**
 * Opens an authority. Throws if the key file is not private to this process's user, is not the certificate's key, is not EC P-256, or the
 * certificate is no authority.
 */
export async function openSigningAuthority(certificatePath: string, keyPath: string): Promise<SigningAuthority> {
  const certificate = new X509Certificate(readFileSync(certificatePath));
  const key = readKey(keyPath);
  if (!certificate.checkPrivateKey(key)) throw new Error(`${keyPath} is not the key of ${certificatePath}`);
  if (!certificate.ca) throw new Error(`${certificatePath} is not a certificate authority`);
  const issuer = new x509.X509Certificate(certificate.raw);
  const keyId = await x509.AuthorityKeyIdentifierExtension.create(issuer, false, webcrypto);
  const signingKey = key.toCryptoKey(algorithm, false, ["sign"]);
  return {
    expireTimeMs: certificate.validToDate.getTime(),
    async sign({ commonName, names, usage, beginMs, expireTimeMs, publicKey, curve }) {
      const serial = positiveSerial();
      const leaf = await x509.X509CertificateGenerator.create(
        {
          serialNumber: serial,
          subject: [{ CN: [commonName] }],
          issuer: issuer.subjectName,
          notBefore: new Date(beginMs),
          notAfter: new Date(expireTimeMs),
          signingAlgorithm: algorithm,
          signingKey,
          publicKey: publicKey.toCryptoKey({ name: "ECDSA", namedCurve: curve }, true, ["verify"]),
          extensions: [
            new x509.BasicConstraintsExtension(false, undefined, true),
            new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
            new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage[usage]]),
            new x509.SubjectAlternativeNameExtension([...names]),
            keyId,
          ],
        },
        webcrypto,
      );
      return { certificatePem: `${leaf.toString("pem")}\n`, serial };
    },
  };
}

function readKey(path: string): KeyObject {
  const pem = readPrivateFile(path, { minBytes: 1, maxBytes: maxKeyFileBytes });
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw new Error(`${path} is not an EC P-256 key`);
    return key;
  } finally {
    pem.fill(0);
  }
}

/** 16 random bytes whose first bit is 0, hexadecimal: DER would read a first bit of 1 as a negative number. */
function positiveSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}
