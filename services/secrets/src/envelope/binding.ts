/** What a sealed box is for. A box made for one purpose does not open for another. */
export type Purpose =
  | "tenant-key"
  | "data-key"
  | "secret-value"
  | "gateway-token"
  | "snapshot-key"
  | "backup-key"
  | "disk-key";

/** The facts a sealed box is bound to: it opens only where all of them are the same as when it was sealed. */
export interface Binding {
  readonly purpose: Purpose;
  readonly tenant: string;
  /** Name of the thing inside: a secret's name, a key's id. */
  readonly object: string;
  /** Version of the object, from 1. */
  readonly version: number;
  /** Id of the key that seals the box. */
  readonly keyId: string;
}

const domain = "lobsterd.secrets.envelope.v1";

/**
 * The associated data of AES-GCM: every field preceded by its length in four bytes, big-endian, in a fixed order. Lengths
 * keep two different bindings from encoding to the same bytes (tenant `a`, object `bc` against tenant `ab`, object `c`).
 */
export function encodeBinding(binding: Binding): Buffer {
  if (!Number.isSafeInteger(binding.version) || binding.version < 1) throw new RangeError("version is not positive");
  const fields = [domain, binding.purpose, binding.tenant, binding.object, String(binding.version), binding.keyId];
  const parts: Buffer[] = [];
  for (const field of fields) {
    const bytes = Buffer.from(field, "utf8");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    parts.push(length, bytes);
  }
  return Buffer.concat(parts);
}
