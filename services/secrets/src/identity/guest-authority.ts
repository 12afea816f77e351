import { generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { Secret } from "@lobsterd/chassis/secret.ts";
import type { GuestName } from "../store/identity-store.ts";
import { guestHostNames, guestUri } from "./guest-name.ts";
import { pemBytes } from "./pem.ts";
import { openSigningAuthority } from "./signing-authority.ts";

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

/** Opens the guest CA; throws as `openSigningAuthority` does. */
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
  const authority = await openSigningAuthority(options.certificatePath, options.keyPath);

  async function certify(name: GuestName, publicKey: KeyObject, nowMs: number): Promise<GuestCertificate> {
    const beginMs = nowMs - options.backdateMs;
    const expireTimeMs = Math.min(beginMs + options.lifetimeMs, authority.expireTimeMs);
    if (expireTimeMs <= nowMs) throw new Error("the guest authority's certificate has expired");
    const [innerName, outerName] = guestHostNames(options.domain, name.tenant);
    const leaf = await authority.sign({
      commonName: innerName,
      names: [
        { type: "url", value: guestUri(options.trustDomain, name) },
        { type: "dns", value: innerName },
        { type: "dns", value: outerName },
      ],
      ...{ usage: "serverAuth", beginMs, expireTimeMs, publicKey, curve: "P-256" },
    });
    return { ...leaf, expireTimeMs };
  }

  return {
    certify,
    async issue(name, nowMs) {
      const { publicKey, privateKey } = await newKeyPair("ec", { namedCurve: "P-256" });
      return { ...(await certify(name, publicKey, nowMs)), privateKeyPem: privateKeyPem(privateKey) };
    },
  };
}

function privateKeyPem(key: KeyObject): Secret {
  const der = key.export({ type: "pkcs8", format: "der" });
  try {
    return Secret.take(pemBytes("PRIVATE KEY", der));
  } finally {
    der.fill(0);
  }
}
