import { fail } from "../errors.ts";
import { parseCheckpoint, signCheckpoint } from "../tree/checkpoint.ts";
import type { MerkleTree } from "../tree/merkle-tree.ts";
import type { NoteSigner } from "../tree/signed-note.ts";
import { maxBatchRecords } from "./frame.ts";

/** Most records between two checkpoints while the log grows; `signIfGrown` is to be called every half second beside it. */
const maxRecordsApart = 1000;

/** Signs what the log has come to. */
export interface Checkpointer {
  /** The newest checkpoint, as a signed note. */
  newest(): string;
  /** Records that it covers. */
  newestSize(): number;
  /** To be called when the tree grew: signs if the next batch could bring the records since the last checkpoint above the bound. */
  grew(): void;
  /** Signs a checkpoint of the whole tree if the newest one is not of it, and returns the newest. */
  signIfGrown(): string;
}

/**
 * Signs a first checkpoint at once. `signed` gets each note.
 *
 * `last` is the text of the newest note of the run before, if there was one. Throws CHECKPOINT_MISMATCH, and signs nothing, if the tree does not
 * begin with the one of that note: a second history under the same key is what the checkpoints are there to show.
 */
export function createCheckpointer(options: {
  /** The tree over every durable record. */
  readonly tree: () => MerkleTree;
  readonly signer: NoteSigner;
  readonly now: () => number;
  readonly last: string | undefined;
  readonly signed: (note: string) => void;
}): Checkpointer {
  const { tree, signer } = options;
  if (options.last !== undefined) requireSameHistory(tree(), options.last);
  let newest = "";
  let size = -1;
  const sign = (): void => {
    const now = tree();
    size = now.size;
    newest = signCheckpoint(signer, { size, root: now.root(), timeMs: options.now() });
    options.signed(newest);
  };
  sign();
  return {
    newest: () => newest,
    newestSize: () => size,
    grew() {
      if (tree().size - size > maxRecordsApart - maxBatchRecords) sign();
    },
    signIfGrown() {
      if (tree().size !== size) sign();
      return newest;
    },
  };
}

function requireSameHistory(tree: MerkleTree, note: string): void {
  const { size, root } = parseCheckpoint(note.slice(0, note.lastIndexOf("\n\n") + 1));
  if (size <= tree.size && root.equals(tree.rootAt(size))) return;
  throw fail("CHECKPOINT_MISMATCH", `the log is not the one that the checkpoint of ${size} records was signed for`, {
    metadata: { checkpoint: String(size), records: String(tree.size) },
  });
}
