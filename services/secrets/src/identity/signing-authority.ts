// The certificate library's dependency injection needs this to be loaded before it.
import "reflect-metadata";
import { createPrivateKey, type KeyObject, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import * as x509 from "@peculiar/x509";
import { readPrivateFile } from "../root-key/private-file.ts";

const maxKeyFileBytes = 16 * 1024;
export const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** An authority whose key this process has. */
export interface SigningAuthority {
  readonly subject: x509.Name;
  readonly keyId: x509.Extension;
  readonly signingKey: webcrypto.CryptoKey;
  readonly expireTimeMs: number;
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
  return {
    subject: issuer.subjectName,
    keyId: await x509.AuthorityKeyIdentifierExtension.create(issuer, false, webcrypto),
    signingKey: key.toCryptoKey(algorithm, false, ["sign"]),
    expireTimeMs: certificate.validToDate.getTime(),
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
export function positiveSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}
