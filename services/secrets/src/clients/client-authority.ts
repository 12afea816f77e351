import type { KeyObject } from "node:crypto";
import { openSigningAuthority } from "../identity/signing-authority.ts";

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
      const expireTimeMs = Math.min(nowMs + days * dayMs, authority.expireTimeMs);
      if (expireTimeMs <= nowMs) throw new Error("the clients authority's certificate has expired");
      const { certificatePem, serial } = await authority.sign({
        ...{ commonName: name, names: [{ type: "url", value: clientUri(options.trustDomain, name) }] },
        ...{ usage: "clientAuth", beginMs: nowMs - backdateMs, expireTimeMs, publicKey },
        curve: publicKey.asymmetricKeyDetails?.namedCurve === "secp384r1" ? "P-384" : "P-256",
      });
      return { certificatePem, serialNumber: serial.toUpperCase(), expireTimeMs };
    },
  };
}
