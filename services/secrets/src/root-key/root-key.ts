import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { PrivateFileError } from "./private-file.ts";

/** Bytes of a root key. */
export const rootKeyBytes = 32;

/** A root key in native memory. */
export interface RootKey {
  /** 32 hexadecimal digits that say nothing about the key. */
  readonly id: string;
  readonly key: KeyObject;
}

/** The root keys of one kind of place: read anew for each use, so that one that was taken away stops working at once. */
export interface RootKeySource {
  readonly kind: string;
  /** `next` is there while a rotation goes on. Throws `PrivateFileError`. */
  read(): { readonly current: RootKey; readonly next: RootKey | undefined };
  /** Has a next key ready, durable. Throws NEXT_ROOT_KEY_MISSING if an operator has to bring it. */
  makeNext(): void;
  /** Puts the next key in the place of the current one, in one step, where that is the process's to do. */
  promoteNext(): void;
}

/** Takes `bytes` as a root key and wipes them. Throws `PrivateFileError` for a size or a content that no random key has. */
export function toRootKey(bytes: Uint8Array, what: string): RootKey {
  try {
    if (bytes.length !== rootKeyBytes) {
      throw new PrivateFileError("unsafe", `${what} has ${bytes.length} bytes, must have ${rootKeyBytes}`);
    }
    // Placeholders (`truncate -s 32`, a file of one letter) have the right size and no secrecy.
    if (new Set(bytes).size < 8) throw new PrivateFileError("unsafe", `${what} does not hold a random key`);
    const key = createSecretKey(bytes);
    const id = createHmac("sha256", key).update("lobsterd.secrets.root-key-id.v1").digest("hex").slice(0, 32);
    return { id, key };
  } finally {
    bytes.fill(0);
  }
}
