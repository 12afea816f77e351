// The certificate library's dependency injection needs this to be loaded before it.
import "reflect-metadata";
import { createPrivateKey, webcrypto } from "node:crypto";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A new EC P-256 key, and the request that proves it; both PEM. */
export async function makeRequest(name: string): Promise<{ csrPem: string; keyPem: string }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const request = await Pkcs10CertificateRequestGenerator.create({
    ...{ name: [{ CN: [name] }], keys, signingAlgorithm: algorithm },
  });
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  const keyPem = createPrivateKey({ key: der, format: "der", type: "pkcs8" }).export({ format: "pem", type: "pkcs8" });
  der.fill(0);
  return { csrPem: `${request.toString("pem")}\n`, keyPem: keyPem.toString() };
}
