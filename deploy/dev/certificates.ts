// x509 resolves its parts through a container that needs this first.
import "reflect-metadata";
import { createPrivateKey, webcrypto } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

const curve = { name: "ECDSA", namedCurve: "P-256" } as const;
const signature = { name: "ECDSA", hash: "SHA-256" } as const;
const dayMs = 86_400_000;
const authorityDays = 825;
const leafDays = 365;
/** Tolerates a clock that is set back a little, as after a suspend of the machine. */
const backdateMs = 5 * 60_000;

/** A certificate and its key, PEM. */
export interface Credential {
  readonly certificatePem: string;
  readonly keyPem: string;
}

/** What a leaf says and may be used for. */
export interface LeafRequest {
  readonly commonName: string;
  readonly uri?: string;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  readonly usages: readonly ("server" | "client")[];
}

/** A new self-signed authority that may sign leaves and no further authority. */
export async function makeAuthority(commonName: string, now: Date = new Date()): Promise<Credential> {
  const keys = await newKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${commonName}`,
    keys,
    signingAlgorithm: signature,
    ...validity(now, authorityDays),
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificatePem: `${certificate.toString("pem")}\n`, keyPem: await pemOf(keys.privateKey) };
}

/** A new leaf signed by `authority`, with a key of its own. */
export async function makeLeaf(
  authority: Credential,
  request: LeafRequest,
  now: Date = new Date(),
): Promise<Credential> {
  const issuer = new X509Certificate(authority.certificatePem);
  const signingKey = await importKey(authority.keyPem);
  const keys = await newKeys();
  const extensions: Extension[] = [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension(
      request.usages.map((usage) => (usage === "server" ? ExtendedKeyUsage.serverAuth : ExtendedKeyUsage.clientAuth)),
    ),
    new SubjectAlternativeNameExtension([
      ...(request.uri === undefined ? [] : [{ type: "url" as const, value: request.uri }]),
      ...(request.dnsNames ?? []).map((value) => ({ type: "dns" as const, value })),
      ...(request.ipAddresses ?? []).map((value) => ({ type: "ip" as const, value })),
    ]),
    await SubjectKeyIdentifierExtension.create(keys.publicKey),
    await AuthorityKeyIdentifierExtension.create(issuer),
  ];
  const certificate = await X509CertificateGenerator.create({
    subject: `CN=${request.commonName}`,
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: signature,
    ...validity(now, leafDays),
    extensions,
  });
  return { certificatePem: `${certificate.toString("pem")}\n`, keyPem: await pemOf(keys.privateKey) };
}

/** Whether a certificate will still be valid `days` from `now`. */
export function isValidFor(certificatePem: string, days: number, now: Date = new Date()): boolean {
  return new X509Certificate(certificatePem).notAfter.getTime() > now.getTime() + days * dayMs;
}

function validity(now: Date, days: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now.getTime() - backdateMs), notAfter: new Date(now.getTime() + days * dayMs) };
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(curve, true, ["sign", "verify"]);
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key));
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN PRIVATE KEY-----\n${lines.join("\n")}\n-----END PRIVATE KEY-----\n`;
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(pem).export({ format: "der", type: "pkcs8" });
  return webcrypto.subtle.importKey("pkcs8", der, curve, false, ["sign"]);
}
