import { createCipheriv, createDecipheriv, type KeyObject, randomFillSync } from "node:crypto";
import { Secret } from "@lobsterd/chassis/secret.ts";
import { type Binding, encodeBinding } from "./binding.ts";

const algorithm = "aes-256-gcm";
const formatVersion = 1;
const nonceBytes = 12;
const tagBytes = 16;

/** Bytes that a box is longer than what it holds. */
export const boxOverheadBytes = 1 + nonceBytes + tagBytes;

/** A box was changed, or belongs to another place or key. Says nothing about its content. */
export class SealBrokenError extends Error {
  override readonly name = "SealBrokenError";

  constructor() {
    super("sealed box does not open");
  }
}

/**
 * Encrypts and authenticates `plaintext` under a 256-bit `key`, bound to `binding`. The box is: format version (1 byte),
 * nonce (12), ciphertext, tag (16). The caller still owns `plaintext`.
 */
export function seal(key: KeyObject, binding: Binding, plaintext: Uint8Array): Buffer {
  return sealWithNonce(key, binding, plaintext, randomFillSync(Buffer.alloc(nonceBytes)));
}

/** `seal` with a chosen nonce, for known-answer vectors: a nonce used twice under one key breaks GCM. */
export function sealWithNonce(key: KeyObject, binding: Binding, plaintext: Uint8Array, nonce: Uint8Array): Buffer {
  const cipher = createCipheriv(algorithm, key, nonce, { authTagLength: tagBytes });
  cipher.setAAD(encodeBinding(binding));
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return Buffer.concat([Buffer.of(formatVersion), nonce, ciphertext, cipher.getAuthTag()]);
}

/** The content of `box`. Throws `SealBrokenError` unless key and binding are those it was sealed with. */
export function open(key: KeyObject, binding: Binding, box: Uint8Array): Secret {
  if (box.length < boxOverheadBytes || box[0] !== formatVersion) throw new SealBrokenError();
  const end = box.length - tagBytes;
  const decipher = createDecipheriv(algorithm, key, box.subarray(1, 1 + nonceBytes), { authTagLength: tagBytes });
  decipher.setAAD(encodeBinding(binding));
  decipher.setAuthTag(box.subarray(end));
  const plaintext = decipher.update(box.subarray(1 + nonceBytes, end));
  try {
    decipher.final();
    return Secret.take(plaintext);
  } catch {
    // The only thing `final` reports is a tag that does not match.
    throw new SealBrokenError();
  } finally {
    plaintext.fill(0);
  }
}
