import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { createNoteSigner, formatVerifier, type NoteSigner } from "./tree/signed-note.ts";

/**
 * The key that checkpoints are signed with, from a PKCS #8 PEM file that only its owner may read. It is not the key of the service's certificate:
 * that one is renewed, and checkpoints have to be verified years later.
 */
export function openSigningKey(path: string, origin: string): NoteSigner {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const status = fstatSync(descriptor);
    if (!status.isFile() || (status.mode & 0o077) !== 0) {
      throw new Error(`${path} must be a file that only its owner may read`);
    }
    return createNoteSigner(origin, createPrivateKey(readFileSync(descriptor)));
  } finally {
    closeSync(descriptor);
  }
}

/** Name of this host's log, and of its key. It stands in every checkpoint, so it never changes. */
export function originOf(config: { readonly trustDomain: string; readonly hostId: string }): string {
  return `${config.trustDomain}/audit/${config.hostId}`;
}

/** A new key, made when a host is installed: the private one for the service, and the verifier key for whoever checks its log. */
export function makeSigningKey(origin: string): { readonly privateKeyPem: string; readonly verifierKey: string } {
  const { privateKey } = generateKeyPairSync("ed25519");
  return {
    privateKeyPem: privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
    verifierKey: `${formatVerifier(createNoteSigner(origin, privateKey).verifier)}\n`,
  };
}
