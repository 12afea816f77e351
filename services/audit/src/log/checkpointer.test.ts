import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { reasonOf } from "@lobsterd/chassis/errors.ts";
import { plantTree } from "../testing/random-trees.ts";
import { openCheckpoint } from "../tree/checkpoint.ts";
import { createMemoryHashStore } from "../tree/hash-store.ts";
import { MerkleTree } from "../tree/merkle-tree.ts";
import { createNoteSigner } from "../tree/signed-note.ts";
import { createCheckpointer } from "./checkpointer.ts";
import { maxBatchRecords } from "./frame.ts";

const signer = createNoteSigner("test/audit/host", generateKeyPairSync("ed25519").privateKey);

function open(tree: MerkleTree, last?: string) {
  const signed: string[] = [];
  const checkpointer = createCheckpointer({
    ...{ tree: () => tree, signer, now: () => 0, last },
    signed: (note) => void signed.push(note),
  });
  return { checkpointer, sizes: () => signed.map((note) => openCheckpoint(note, signer.verifier).size), signed };
}

function treeOf(leaves: readonly Buffer[]): MerkleTree {
  const tree = new MerkleTree(createMemoryHashStore());
  tree.add(leaves);
  return tree;
}

describe("checkpoints", () => {
  it("are at most 1,000 records apart, however large the batches are", () => {
    const { leaves } = plantTree(10_000, "apart");
    const tree = treeOf([]);
    const { checkpointer, sizes } = open(tree);
    for (let from = 0; from < leaves.length; from += maxBatchRecords) {
      tree.add(leaves.slice(from, from + maxBatchRecords));
      checkpointer.grew();
    }
    checkpointer.signIfGrown();
    const all = sizes();
    assert.equal(all[0], 0);
    assert.equal(all.at(-1), 10_000);
    for (const [at, size] of all.entries()) assert.ok(size - (all[at - 1] ?? 0) <= 1000);
  });

  it("are signed when there is something new, and only then", () => {
    const { leaves } = plantTree(2, "new");
    const tree = treeOf(leaves.slice(0, 1));
    const { checkpointer, sizes } = open(tree);
    const first = checkpointer.newest();
    assert.equal(checkpointer.signIfGrown(), first);
    tree.add(leaves.slice(1));
    assert.notEqual(checkpointer.signIfGrown(), first);
    assert.deepEqual(sizes(), [1, 2]);
  });

  it("are not signed for a history that is not that of the last run's checkpoint", () => {
    const { leaves } = plantTree(6, "one");
    const { leaves: others } = plantTree(6, "other");
    const last = open(treeOf(leaves.slice(0, 4))).checkpointer.newest();
    assert.deepEqual(open(treeOf(leaves), last).sizes(), [6]);
    for (const history of [leaves.slice(0, 3), others, [...leaves.slice(0, 3), ...others.slice(3)]]) {
      assert.throws(
        () => open(treeOf(history), last),
        (error) => reasonOf(error) === "CHECKPOINT_MISMATCH",
      );
    }
  });
});
