// The certificate library's dependency injection needs this to be loaded before it.
import "reflect-metadata";
import {
  createPrivateKey,
  generateKeyPair,
  type KeyObject,
  randomBytes,
  webcrypto,
  X509Certificate,
} from "node:crypto";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { Secret } from "@lobsterd/chassis/secret.ts";
import * as x509 from "@peculiar/x509";
import { readPrivateFile } from "../root-key/private-file.ts";
import type { GuestName } from "../store/identity-store.ts";
import { guestHostNames, guestUri } from "./guest-name.ts";
import { pemBytes } from "./pem.ts";

const maxKeyFileBytes = 16 * 1024;
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const newKeyPair = promisify(generateKeyPair);

/** A guest's certificate with the only copy of its key; whoever gets it destroys `privateKeyPem`. */
export interface GuestLeaf {
  readonly certificatePem: string;
  readonly privateKeyPem: Secret;
  readonly serial: string;
  readonly expireTimeMs: number;
}

/** A certificate for a key that the guest has kept to itself. */
export type GuestCertificate = Omit<GuestLeaf, "privateKeyPem">;

/** Signs guests. Its key never leaves it. */
export interface GuestAuthority {
  certify(name: GuestName, publicKey: KeyObject, nowMs: number): Promise<GuestCertificate>;
  issue(name: GuestName, nowMs: number): Promise<GuestLeaf>;
}

/**
 * Opens the guest CA. Throws if the key file is not private to this process's user, is not the certificate's key, is not
 * EC P-256, or the certificate is no authority.
 */
export async function openGuestAuthority(options: {
  certificatePath: string;
  keyPath: string;
  trustDomain: string;
  /** The guest of tenant `a` also answers to `a.<domain>`. */
  domain: string;
  /** How long a guest's certificate lasts, from its beginning on; never longer than the authority's own. */
  lifetimeMs: number;
  /** How far before now it begins: a guest's clock may be behind the host's until it is set. */
  backdateMs: number;
}): Promise<GuestAuthority> {
  const certificate = new X509Certificate(readFileSync(options.certificatePath));
  const key = readKey(options.keyPath);
  if (!certificate.checkPrivateKey(key))
    throw new Error(`${options.keyPath} is not the key of ${options.certificatePath}`);
  if (!certificate.ca) throw new Error(`${options.certificatePath} is not a certificate authority`);
  const signingKey = key.toCryptoKey(algorithm, false, ["sign"]);
  const issuer = new x509.X509Certificate(certificate.raw);
  const issuerKeyId = await x509.AuthorityKeyIdentifierExtension.create(issuer, false, webcrypto);
  const authorityExpireMs = certificate.validToDate.getTime();

  async function certify(name: GuestName, publicKey: KeyObject, nowMs: number): Promise<GuestCertificate> {
    const serial = positiveSerial();
    const beginMs = nowMs - options.backdateMs;
    const expireTimeMs = Math.min(beginMs + options.lifetimeMs, authorityExpireMs);
    if (expireTimeMs <= nowMs) throw new Error("the guest authority's certificate has expired");
    const [innerName, outerName] = guestHostNames(options.domain, name.tenant);
    const leaf = await x509.X509CertificateGenerator.create(
      {
        serialNumber: serial,
        subject: [{ CN: [innerName] }],
        issuer: issuer.subjectName,
        notBefore: new Date(beginMs),
        notAfter: new Date(expireTimeMs),
        signingAlgorithm: algorithm,
        signingKey,
        publicKey: publicKey.toCryptoKey(algorithm, true, ["verify"]),
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
          new x509.SubjectAlternativeNameExtension([
            { type: "url", value: guestUri(options.trustDomain, name) },
            { type: "dns", value: innerName },
            { type: "dns", value: outerName },
          ]),
          issuerKeyId,
        ],
      },
      webcrypto,
    );
    return { certificatePem: `${leaf.toString("pem")}\n`, serial, expireTimeMs };
  }

  return {
    certify,
    async issue(name, nowMs) {
      const { publicKey, privateKey } = await newKeyPair("ec", { namedCurve: "P-256" });
      return { ...(await certify(name, publicKey, nowMs)), privateKeyPem: privateKeyPem(privateKey) };
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

function privateKeyPem(key: KeyObject): Secret {
  const der = key.export({ type: "pkcs8", format: "der" });
  try {
    return Secret.take(pemBytes("PRIVATE KEY", der));
  } finally {
    der.fill(0);
  }
}

/** 16 random bytes whose first bit is 0: DER would read a first bit of 1 as a negative number. */
function positiveSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}
