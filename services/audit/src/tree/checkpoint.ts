import { hashBytes } from "./merkle.ts";
import { NoteError, type NoteSigner, type NoteVerifier, openNote } from "./signed-note.ts";

/** What a log says of itself at one moment (C2SP tlog-checkpoint): how many records it has, and the root of their tree. */
export interface Checkpoint {
  /** Name of the log, and of the key that signs for it. */
  readonly origin: string;
  readonly size: number;
  readonly root: Buffer;
  /** When it was signed, by the log's clock; `undefined` if it does not say. */
  readonly timeMs: number | undefined;
}

const timeExtension = "time ";

/** A signed checkpoint of the log that `signer` is named for. */
export function signCheckpoint(signer: NoteSigner, tree: { size: number; root: Buffer; timeMs: number }): string {
  const lines = [signer.verifier.name, String(tree.size), tree.root.toString("base64")];
  return signer.sign(`${[...lines, `${timeExtension}${new Date(tree.timeMs).toISOString()}`].join("\n")}\n`);
}

/** The checkpoint in a note. Throws NoteError if `verifier` did not sign it, or it is of another log. */
export function openCheckpoint(note: string, verifier: NoteVerifier): Checkpoint {
  const checkpoint = parseCheckpoint(openNote(note, verifier));
  if (checkpoint.origin !== verifier.name) throw new NoteError(`checkpoint of ${checkpoint.origin}, another log`);
  return checkpoint;
}

/** The checkpoint in the text of a note, whoever signed it. Throws NoteError. */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin = "", size = "", encodedRoot = "", ...extensions] = text.slice(0, -1).split("\n");
  const root = Buffer.from(encodedRoot, "base64");
  if (origin === "" || !/^(0|[1-9]\d{0,15})$/.test(size) || !Number.isSafeInteger(Number(size))) {
    throw new NoteError("checkpoint has no origin or no tree size");
  }
  // Written again and compared, since the decoder passes over what is not base64.
  if (root.length !== hashBytes || root.toString("base64") !== encodedRoot)
    throw new NoteError("checkpoint has no root");
  const time = extensions.find((line) => line.startsWith(timeExtension));
  const timeMs = time === undefined ? Number.NaN : Date.parse(time.slice(timeExtension.length));
  return { origin, size: Number(size), root, timeMs: Number.isNaN(timeMs) ? undefined : timeMs };
}
