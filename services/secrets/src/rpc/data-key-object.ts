import type { SealedObject } from "../envelope/object-key.ts";

/** The wire's purpose, which its rules restrict to two words, as the envelope's. */
export function objectOf({ purpose, objectId }: { readonly purpose: string; readonly objectId: string }): SealedObject {
  return { purpose: purpose === "backup" ? "backup-key" : "snapshot-key", objectId };
}
