import "reflect-metadata";
import { createPublicKey, type KeyObject, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { fail } from "../errors.ts";

const onlyBlock =
  /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/;
/** By OpenSSL's name. */
const curves = new Set(["prime256v1", "secp384r1"]);

/**
 * The public key of a certificate request (PKCS #10, PEM) whose sender proved to have the other half of it. Names and extensions that it asks for are
 * not looked at. Throws CSR_REFUSED.
 */
export async function requestedKey(csrPem: string): Promise<KeyObject> {
  const [, base64] = onlyBlock.exec(csrPem) ?? [];
  if (base64 === undefined) throw refused("is not one request in PEM");
  const { key, isProved } = await opened(Buffer.from(base64, "base64"));
  // Named curves alone: OpenSSL would also take parameters that the sender made up.
  if (!curves.has(key.asymmetricKeyDetails?.namedCurve ?? "")) throw refused("is not of an EC P-256 or P-384 key");
  if (!(await isProved())) throw refused("is not signed with its key");
  return key;
}

async function opened(der: Buffer): Promise<{ key: KeyObject; isProved: () => Promise<boolean> }> {
  try {
    const request = new x509.Pkcs10CertificateRequest(der);
    const key = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: "der", type: "spki" });
    return { key, isProved: () => request.verify(webcrypto).catch(() => false) };
  } catch {
    throw refused("cannot be read");
  }
}

function refused(why: string) {
  return fail("CSR_REFUSED", `the certificate request ${why}`, { metadata: { field: "csr_pem" } });
}
