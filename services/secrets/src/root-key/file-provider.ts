import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { open, SealBrokenError, seal } from "../envelope/sealed-box.ts";
import { fail } from "../errors.ts";
import { PrivateFileError, readPrivateFile } from "./private-file.ts";
import type { RootKeyProvider, WrapTarget } from "./provider.ts";

/** Bytes of a root key file. */
export const rootKeyBytes = 32;

/**
 * The root key is a file of 32 raw bytes. It is read anew for each use, so that no root key stays in memory, a key that was
 * taken away stops working at once and one that was put back works again.
 */
export function openFileRootKey(path: string): RootKeyProvider {
  return {
    kind: "file",

    async wrap(key, target) {
      const root = useRootKey(path);
      return { rootKeyId: root.id, bytes: seal(root.key, bindingOf(target, root.id), key) };
    },

    async unwrap(wrapped, target) {
      const root = useRootKey(path);
      if (wrapped.rootKeyId !== root.id) {
        throw fail("ROOT_KEY_UNAVAILABLE", "the tenant's key was wrapped by another root key", {
          metadata: { wanted_root_key_id: wrapped.rootKeyId, root_key_id: root.id },
        });
      }
      try {
        return open(root.key, bindingOf(target, root.id), wrapped.bytes);
      } catch (error) {
        if (error instanceof SealBrokenError) throw fail("SEAL_BROKEN", "a tenant's key does not unwrap");
        throw error;
      }
    },

    async health() {
      try {
        return { state: "ready", rootKeyId: readRootKey(path).id };
      } catch (error) {
        if (!(error instanceof PrivateFileError)) return { state: "unavailable", detail: "root key cannot be read" };
        return { state: error.state === "unsafe" ? "unsafe" : "unavailable", detail: error.message };
      }
    },
  };
}

function useRootKey(path: string): { id: string; key: KeyObject } {
  try {
    return readRootKey(path);
  } catch (error) {
    if (!(error instanceof PrivateFileError)) throw error;
    throw fail("ROOT_KEY_UNAVAILABLE", "the root key cannot be used", { cause: error });
  }
}

function readRootKey(path: string): { id: string; key: KeyObject } {
  const bytes = readPrivateFile(path, { minBytes: rootKeyBytes, maxBytes: rootKeyBytes });
  try {
    // Placeholders (`truncate -s 32`, a file of one letter) have the right size and no secrecy.
    if (new Set(bytes).size < 8) throw new PrivateFileError("unsafe", `${path} does not hold a random key`);
    const key = createSecretKey(bytes);
    const id = createHmac("sha256", key).update("lobsterd.secrets.root-key-id.v1").digest("hex").slice(0, 32);
    return { id, key };
  } finally {
    bytes.fill(0);
  }
}

function bindingOf(target: WrapTarget, rootKeyId: string) {
  return {
    purpose: "tenant-key",
    tenant: target.tenant,
    object: target.tenantKeyId,
    version: 1,
    keyId: rootKeyId,
  } as const;
}
