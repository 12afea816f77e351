import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { checkRandomTrees, plantTree } from "../testing/random-trees.ts";
import { seededRandom } from "../testing/test-log.ts";
import { hashCount, hashPosition } from "./hash-layout.ts";
import { Frontier } from "./merkle.ts";
import { consistencyProof, inclusionProof, type ReadHash, verifyConsistency, verifyInclusion } from "./proofs.ts";

type Vectors = {
  leaves: string[];
  roots: string[];
  inclusion: { sequence: number; size: number; hashes: string[] }[];
  consistency: { oldSize: number; newSize: number; hashes: string[] }[];
};

// Made in another language from the recursive definitions of RFC 6962 section 2.1, over the leaves that certificate transparency tests with.
const vectors: Vectors = JSON.parse(readFileSync(new URL("rfc6962.vectors.json", import.meta.url), "utf8"));

const leafHashes = vectors.leaves.map((leaf) => hash("sha256", Buffer.from(`00${leaf}`, "hex"), "buffer"));

function storedTree(): { read: ReadHash; roots: Buffer[] } {
  const frontier = new Frontier();
  const stored: Uint8Array[] = [];
  const roots = [frontier.root()];
  for (const leafHash of leafHashes) {
    stored.push(...frontier.add(leafHash));
    roots.push(frontier.root());
  }
  return { read: (level, index) => stored[hashPosition(level, index)] ?? assert.fail("not stored"), roots };
}

const hex = (hashes: readonly Uint8Array[]) => hashes.map((one) => Buffer.from(one).toString("hex"));

describe("the tree of RFC 6962", () => {
  it("has the roots of the vectors at every size", () => {
    assert.deepEqual(hex(storedTree().roots), vectors.roots);
  });

  it("gives the inclusion proofs of the vectors, and they verify", () => {
    const { read, roots } = storedTree();
    for (const { sequence, size, hashes } of vectors.inclusion) {
      const proof = inclusionProof(read, sequence, size);
      assert.deepEqual(hex(proof), hashes, `${sequence} of ${size}`);
      const [leafHash, root] = [leafHashes[sequence], roots[size]];
      assert.ok(leafHash !== undefined && root !== undefined);
      assert.ok(verifyInclusion({ leafHash, sequence, size, root, proof }), `${sequence} of ${size}`);
    }
  });

  it("gives the consistency proofs of the vectors, and they verify", () => {
    const { read, roots } = storedTree();
    for (const { oldSize, newSize, hashes } of vectors.consistency) {
      const proof = consistencyProof(read, oldSize, newSize);
      assert.deepEqual(hex(proof), hashes, `${oldSize} to ${newSize}`);
      const [oldRoot, newRoot] = [roots[oldSize], roots[newSize]];
      assert.ok(oldRoot !== undefined && newRoot !== undefined);
      assert.ok(verifyConsistency({ oldSize, newSize, oldRoot, newRoot, proof }), `${oldSize} to ${newSize}`);
    }
  });

  it("proves every record and every size of every tree up to 40", () => {
    const { read, roots, leaves } = plantTree(40, "all");
    for (let size = 1; size <= 40; size += 1) {
      const root = roots[size] ?? assert.fail();
      for (const [sequence, leafHash] of leaves.slice(0, size).entries()) {
        assert.ok(verifyInclusion({ leafHash, sequence, size, root, proof: inclusionProof(read, sequence, size) }));
        const [oldSize, oldRoot] = [sequence + 1, roots[sequence + 1] ?? assert.fail()];
        const proof = consistencyProof(read, oldSize, size);
        assert.ok(verifyConsistency({ oldSize, newSize: size, oldRoot, newRoot: root, proof }));
      }
    }
  });

  it("has proofs in 200 random trees that verify, and none of them with one bit changed", () => {
    checkRandomTrees(200, 600, seededRandom(1));
  });

  it("refuses sizes that are none", () => {
    const { read, roots, leaves } = plantTree(5, "five");
    const [root, leafHash] = [roots[5] ?? assert.fail(), leaves[4] ?? assert.fail()];
    const inclusion = { leafHash, sequence: 4, size: 5, root, proof: inclusionProof(read, 4, 5) };
    for (const [sequence, size] of [
      [5, 5],
      [-1, 5],
      [4.5, 5],
      [Number.NaN, 5],
      [4, 2 ** 60],
    ] as const) {
      assert.ok(!verifyInclusion({ ...inclusion, sequence, size }));
    }
    const oldRoot = roots[3] ?? assert.fail();
    const consistency = { oldSize: 3, newSize: 5, oldRoot, newRoot: root, proof: consistencyProof(read, 3, 5) };
    for (const [oldSize, newSize] of [
      [0, 5],
      [6, 5],
      [3, Number.NaN],
      [3, 3],
      [5, 5],
    ] as const) {
      assert.ok(!verifyConsistency({ ...consistency, oldSize, newSize }));
    }
  });

  it("keeps each hash in one place, without holes", () => {
    const places: number[] = [];
    for (let level = 0; 2 ** level <= 1000; level += 1) {
      for (let index = 0; (index + 1) * 2 ** level <= 1000; index += 1) places.push(hashPosition(level, index));
    }
    places.sort((one, other) => one - other);
    assert.deepEqual(
      places,
      Array.from({ length: hashCount(1000) }, (_, at) => at),
    );
  });
});
