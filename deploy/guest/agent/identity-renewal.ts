import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from "node:crypto";
import type { CreateIdentityKeyResponse, InstallIdentityRequest } from "@lobsterd/proto/lobsterd/agent/v1/agent_pb.ts";
import type { CurrentIdentity } from "./current-identity.ts";
import { fail } from "./errors.ts";
import type { Identity } from "./identity.ts";
import { soleUri } from "./peer.ts";

const proofContext = "lobsterd guest key v1";

/** The URI that a guest proves. */
function guestUri({ trustDomain, tenant, vmId }: Identity, generation: number): string {
  return `spiffe://${trustDomain}/guest/${tenant}/${vmId}/${generation}`;
}

/**
 * Renews this guest's identity. The key is made here and never leaves; the host gets the public half with a proof that the other half
 * is here, and brings the certificate.
 */
export class IdentityRenewal {
  readonly #current: CurrentIdentity;
  #pending: { readonly privateKey: KeyObject; readonly publicKey: Buffer; readonly generation: number } | undefined;

  constructor(current: CurrentIdentity) {
    this.#current = current;
  }

  /**
   * Makes the key for `generation`, which is neither before this guest's nor before that of a key that waits for its certificate: who still asks for an
   * earlier one, as a renewal does that began before a wake, must not end that wake. The key made before is forgotten.
   */
  createKey(generation: number): Pick<CreateIdentityKeyResponse, "publicKey" | "proof"> {
    const identity = this.#current.value;
    const earliest = Math.max(identity.generation, this.#pending?.generation ?? 0);
    if (generation < earliest)
      throw fail("INVALID_FIELD", "generation: older than this guest", { field: "generation" });
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const spki = publicKey.export({ type: "spki", format: "der" });
    const proved = Buffer.concat([Buffer.from(`${proofContext}\0${guestUri(identity, generation)}\0`), spki]);
    this.#pending = { privateKey, publicKey: spki, generation };
    return { publicKey: spki, proof: sign("sha256", proved, { key: privateKey, dsaEncoding: "ieee-p1363" }) };
  }

  /** Takes the certificate of the key that was made last. Changes nothing when any part of it is not as it must be. */
  install(request: InstallIdentityRequest): void {
    const pending = this.#pending;
    if (pending === undefined || pending.generation !== request.generation)
      throw fail("KEY_MISSING", "no key was made for this generation since the last one was installed");
    const { certificatePem, platformCaPem, generation } = request;
    const identity = this.#current.value;
    const certificate = parsed("certificate_pem", certificatePem);
    parsed("platform_ca_pem", platformCaPem);
    const itsKey = certificate.publicKey.export({ type: "spki", format: "der" });
    if (!itsKey.equals(pending.publicKey)) throw malformed("certificate_pem", "is of another key");
    if (soleUri(certificate.subjectAltName) !== guestUri(identity, generation))
      throw malformed("certificate_pem", "is of another guest");
    if (certificate.validToDate.getTime() <= Date.now()) throw malformed("certificate_pem", "has expired");
    const { vm = new Uint8Array(), secrets = new Uint8Array() } = request.tokenDigests ?? {};
    if (vm.length !== 32 || secrets.length !== 32) throw malformed("token_digests", "are of 32 bytes");
    const privateKeyPem = pending.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    this.#pending = undefined;
    this.#current.replace({
      ...identity,
      generation,
      certificatePem,
      privateKeyPem,
      platformCaPem,
      tokenDigests: { vm, secrets },
    });
  }
}

function malformed(field: string, message: string) {
  return fail("INVALID_FIELD", `${field}: ${message}`, { field });
}

function parsed(field: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw malformed(field, "is no certificate");
  }
}
