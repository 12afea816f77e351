import type { SealedObject } from "../envelope/object-key.ts";

const purposes = { snapshot: "snapshot-key", backup: "backup-key", disk: "disk-key" } as const;

/** The wire's purpose, which its rules restrict to these words, as the envelope's. */
export function objectOf({ purpose, objectId }: { readonly purpose: string; readonly objectId: string }): SealedObject {
  return { purpose: purposes[purpose as keyof typeof purposes], objectId };
}
