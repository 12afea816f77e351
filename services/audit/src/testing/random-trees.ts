import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { hashCount, hashPosition } from "../tree/hash-layout.ts";
import { Frontier } from "../tree/merkle.ts";
import { consistencyProof, inclusionProof, type ReadHash, verifyConsistency, verifyInclusion } from "../tree/proofs.ts";

/** A tree of `size` leaves as the log keeps it: every hash at its place, and the root at every size. */
export function plantTree(size: number, seed: string): { read: ReadHash; roots: Buffer[]; leaves: Buffer[] } {
  const frontier = new Frontier();
  const stored: Uint8Array[] = [];
  const roots = [frontier.root()];
  const leaves = Array.from({ length: size }, (_, at) => hash("sha256", `${seed} ${at}`, "buffer"));
  for (const leaf of leaves) {
    assert.equal(stored.length, hashCount(frontier.size));
    stored.push(...frontier.add(leaf));
    roots.push(frontier.root());
  }
  const read: ReadHash = (level, index) =>
    stored[hashPosition(level, index)] ?? assert.fail(`no hash ${level}/${index}`);
  return { read, roots, leaves };
}

/** Takes one proof of each kind from random trees: each has to verify, and each with one bit changed anywhere must not. */
export function checkRandomTrees(count: number, maxSize: number, random: () => number): void {
  const below = (limit: number) => Math.floor(random() * limit);
  for (let number = 0; number < count; number += 1) {
    const newSize = 1 + below(maxSize);
    const oldSize = 1 + below(newSize);
    const sequence = below(newSize);
    const { read, roots, leaves } = plantTree(newSize, `tree ${number}`);
    const root = roots[newSize] ?? assert.fail();
    const oldRoot = roots[oldSize] ?? assert.fail();
    const where = `tree ${number}: record ${sequence}, size ${oldSize} to ${newSize}`;
    const inclusion = {
      leafHash: leaves[sequence] ?? assert.fail(),
      ...{ sequence, size: newSize, root, proof: inclusionProof(read, sequence, newSize) },
    };
    assert.ok(verifyInclusion(inclusion), where);
    const consistency = { oldSize, newSize, oldRoot, newRoot: root, proof: consistencyProof(read, oldSize, newSize) };
    assert.ok(verifyConsistency(consistency), where);

    const flip = (bytes: Uint8Array) => {
      const changed = Buffer.from(bytes);
      const at = below(changed.length);
      changed[at] = (changed[at] ?? 0) ^ (1 << below(8));
      return changed;
    };
    const flipOne = (proof: Uint8Array[]) => {
      const at = below(proof.length);
      return proof.map((hashed, index) => (index === at ? flip(hashed) : hashed));
    };
    assert.ok(!verifyInclusion({ ...inclusion, leafHash: flip(inclusion.leafHash) }), where);
    assert.ok(!verifyInclusion({ ...inclusion, root: flip(root) }), where);
    assert.ok(!verifyInclusion({ ...inclusion, proof: [...inclusion.proof, root] }), where);
    assert.ok(!verifyConsistency({ ...consistency, newRoot: flip(root) }), where);
    assert.ok(!verifyConsistency({ ...consistency, oldRoot: flip(oldRoot) }), where);
    assert.ok(!verifyConsistency({ ...consistency, proof: [...consistency.proof, root] }), where);
    if (inclusion.proof.length > 0) {
      assert.ok(!verifyInclusion({ ...inclusion, proof: flipOne(inclusion.proof) }), where);
      assert.ok(!verifyInclusion({ ...inclusion, proof: inclusion.proof.slice(1) }), where);
    }
    if (consistency.proof.length > 0) {
      assert.ok(!verifyConsistency({ ...consistency, proof: flipOne(consistency.proof) }), where);
      assert.ok(!verifyConsistency({ ...consistency, proof: consistency.proof.slice(0, -1) }), where);
    }
  }
}
