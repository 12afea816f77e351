import { hash } from "node:crypto";

export const hashBytes = 32;

/** Root of the tree without leaves: the hash of nothing. */
export const emptyRoot: Buffer = hash("sha256", "", "buffer");

const scratch = Buffer.alloc(1 + 2 * hashBytes);
scratch[0] = 0x01;

/** RFC 6962 inner node: SHA-256(0x01 || left || right). The prefix keeps a node from being passed off as a record. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  scratch.set(left, 1);
  scratch.set(right, 1 + hashBytes);
  return hash("sha256", scratch, "buffer");
}

/** The largest power of two below `size`, which is where RFC 6962 splits a tree of two leaves or more. */
export function splitPoint(size: number): number {
  let split = 1;
  while (split * 2 < size) split *= 2;
  return split;
}

/**
 * The right edge of a growing tree: the roots of its whole subtrees, largest first. It is all that is needed to add a leaf or to know the
 * root, and holds at most one hash for each bit of the size.
 */
export class Frontier {
  readonly #edge: Uint8Array[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds a leaf hash. Returns the hashes that it fixes, in the order of `hash-layout.ts`: itself, then the subtrees it completes. */
  add(leafHash: Uint8Array): readonly Uint8Array[] {
    const fixed = [leafHash];
    let last = leafHash;
    for (let left = this.#size; left % 2 === 1; left = Math.floor(left / 2)) {
      const sibling = this.#edge.pop();
      if (sibling === undefined) throw new Error("the frontier has lost a subtree");
      last = nodeHash(sibling, last);
      fixed.push(last);
    }
    this.#edge.push(last);
    this.#size += 1;
    return fixed;
  }

  root(): Buffer {
    return this.#edge.length === 0
      ? emptyRoot
      : Buffer.from(this.#edge.reduceRight((right, left) => nodeHash(left, right)));
  }
}
