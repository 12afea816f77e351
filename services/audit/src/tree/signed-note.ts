import { createHash, createPublicKey, type KeyObject, sign, verify } from "node:crypto";

/** A note that is not one, or that the expected key did not sign. */
export class NoteError extends Error {
  override readonly name = "NoteError";
}

/** What verifies notes: `<name>+<8 hex digits>+<base64 of algorithm and key>` in text. */
export interface NoteVerifier {
  readonly name: string;
  readonly keyId: Buffer;
  readonly publicKey: KeyObject;
}

/** Signs notes under one name. */
export interface NoteSigner {
  readonly verifier: NoteVerifier;
  /** `text` ends with a newline. Returns the whole note. */
  sign(text: string): string;
}

/** More than any checkpoint has; a reader refuses a longer note. */
export const maxNoteBytes = 16 * 1024;

const ed25519 = 0x01;
const publicKeyBytes = 32;
const keyIdBytes = 4;
const signatureStart = "\u2014 ";

/** A signer for an Ed25519 private key (C2SP signed-note). Throws NoteError for another kind of key or a name with spaces or plus signs. */
export function createNoteSigner(name: string, privateKey: KeyObject): NoteSigner {
  if (privateKey.asymmetricKeyType !== "ed25519") throw new NoteError("the key of a note is Ed25519");
  const verifier = verifierOf(name, createPublicKey(privateKey));
  return {
    verifier,
    sign(text) {
      if (!text.endsWith("\n")) throw new NoteError("a note's text ends with a newline");
      const signature = Buffer.concat([verifier.keyId, sign(null, Buffer.from(text), privateKey)]);
      return `${text}\n${signatureStart}${name} ${signature.toString("base64")}\n`;
    },
  };
}

/** The text of the verifier key that belongs to a public key: what an auditor is given once, by a way of their own. */
export function formatVerifier({ name, keyId, publicKey }: NoteVerifier): string {
  const key = Buffer.concat([Buffer.of(ed25519), rawPublicKey(publicKey)]);
  return `${name}+${keyId.toString("hex")}+${key.toString("base64")}`;
}

/** Throws NoteError if `text` is no verifier key, or its key id is not that of its name and key. */
export function parseVerifier(text: string): NoteVerifier {
  const [, name = "", id = "", encoded = ""] = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{44})$/.exec(text) ?? [];
  const key = Buffer.from(encoded, "base64");
  if (key.length !== 1 + publicKeyBytes || key[0] !== ed25519) throw new NoteError("not an Ed25519 verifier key");
  const x = key.subarray(1).toString("base64url");
  const verifier = verifierOf(name, createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" }));
  if (verifier.keyId.toString("hex") !== id)
    throw new NoteError("the verifier key's id is not that of its name and key");
  return verifier;
}

/** The text of a note that `verifier` signed. Signatures of other keys are passed over. Throws NoteError. */
export function openNote(note: string, verifier: NoteVerifier): string {
  if (Buffer.byteLength(note) > maxNoteBytes) throw new NoteError(`note is longer than ${maxNoteBytes} bytes`);
  const end = note.lastIndexOf("\n\n");
  if (end < 0 || !note.endsWith("\n")) throw new NoteError("not a signed note");
  const text = note.slice(0, end + 1);
  for (const line of note.slice(end + 2, -1).split("\n")) {
    const [, name, encoded = ""] = /^\u2014 (\S+) ([A-Za-z0-9+/=]+)$/.exec(line) ?? [];
    if (name === undefined) throw new NoteError("a signature line is malformed");
    const signature = Buffer.from(encoded, "base64");
    // The decoder passes over what is not base64, and a note has one form.
    if (signature.toString("base64") !== encoded) throw new NoteError("a signature is not base64");
    if (name !== verifier.name || !signature.subarray(0, keyIdBytes).equals(verifier.keyId)) continue;
    if (verify(null, Buffer.from(text), verifier.publicKey, signature.subarray(keyIdBytes))) return text;
    throw new NoteError(`the signature of ${verifier.name} is wrong`);
  }
  throw new NoteError(`no signature of ${verifier.name} with this key`);
}

function verifierOf(name: string, publicKey: KeyObject): NoteVerifier {
  if (!/^[^+\s]+$/.test(name)) throw new NoteError("a key's name has no spaces and no plus signs");
  const digest = createHash("sha256").update(`${name}\n`).update(Buffer.of(ed25519)).update(rawPublicKey(publicKey));
  return { name, keyId: digest.digest().subarray(0, keyIdBytes), publicKey };
}

function rawPublicKey(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: "jwk" }).x ?? "", "base64url");
}
