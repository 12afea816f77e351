import { nodeHash, splitPoint } from "./merkle.ts";

/** Reads the hash of a whole subtree: `level` 0 is the leaves. */
export type ReadHash = (level: number, index: number) => Uint8Array;

/** Root of the leaves [start, end). `start` is a multiple of every subtree that is read, as RFC 6962's splits make it. */
export function subtreeRoot(read: ReadHash, start: number, end: number): Uint8Array {
  const size = end - start;
  const level = Math.log2(size);
  if (Number.isInteger(level)) return read(level, start / size);
  const middle = start + splitPoint(size);
  return nodeHash(subtreeRoot(read, start, middle), subtreeRoot(read, middle, end));
}

/** RFC 6962 section 2.1.1: the hashes that lead from leaf `sequence` to the root of the first `size` leaves, lowest first. */
export function inclusionProof(read: ReadHash, sequence: number, size: number): Uint8Array[] {
  const proof: Uint8Array[] = [];
  for (let [start, end] = [0, size]; end - start > 1; ) {
    const middle = start + splitPoint(end - start);
    if (sequence < middle) {
      proof.push(subtreeRoot(read, middle, end));
      end = middle;
    } else {
      proof.push(subtreeRoot(read, start, middle));
      start = middle;
    }
  }
  return proof.reverse();
}

/** RFC 6962 section 2.1.2: the hashes that show the tree of `newSize` leaves to begin with that of `oldSize`; 1 <= oldSize <= newSize. */
export function consistencyProof(read: ReadHash, oldSize: number, newSize: number): Uint8Array[] {
  const proof: Uint8Array[] = [];
  let [start, end] = [0, newSize];
  while (end > oldSize) {
    const middle = start + splitPoint(end - start);
    if (oldSize <= middle) {
      proof.push(subtreeRoot(read, middle, end));
      end = middle;
    } else {
      proof.push(subtreeRoot(read, start, middle));
      start = middle;
    }
  }
  // If the old tree is a subtree of the new one, its root is known to whoever asks and left out.
  if (start > 0) proof.push(subtreeRoot(read, start, end));
  return proof.reverse();
}

/** Whether `proof` leads from the leaf hash of record `sequence` to `root` of a tree of `size` (RFC 9162 section 2.1.3.2). */
export function verifyInclusion(claim: {
  readonly leafHash: Uint8Array;
  readonly sequence: number;
  readonly size: number;
  readonly root: Uint8Array;
  readonly proof: readonly Uint8Array[];
}): boolean {
  if (!areSizes(claim.sequence, claim.size) || claim.sequence >= claim.size || !areHashes(claim.proof)) return false;
  const path = new Path(claim.sequence, claim.size - 1);
  let hash = claim.leafHash;
  for (const sibling of claim.proof) {
    if (path.isAtRoot) return false;
    hash = path.siblingIsLeft ? nodeHash(sibling, hash) : nodeHash(hash, sibling);
    path.climb();
  }
  return path.isAtRoot && equal(hash, claim.root);
}

/** Whether `proof` shows the tree with `newRoot` to begin with the tree with `oldRoot` (RFC 9162 section 2.1.4.2). */
export function verifyConsistency(claim: {
  readonly oldSize: number;
  readonly newSize: number;
  readonly oldRoot: Uint8Array;
  readonly newRoot: Uint8Array;
  readonly proof: readonly Uint8Array[];
}): boolean {
  const { oldSize, newSize, oldRoot, newRoot } = claim;
  if (!areSizes(oldSize, newSize) || oldSize < 1 || oldSize > newSize || !areHashes(claim.proof)) return false;
  if (oldSize === newSize) return claim.proof.length === 0 && equal(oldRoot, newRoot);
  const isWhole = Number.isInteger(Math.log2(oldSize));
  const [seed, ...rest] = isWhole ? [oldRoot, ...claim.proof] : claim.proof;
  if (seed === undefined) return false;
  const path = new Path(oldSize - 1, newSize - 1);
  path.climbWholeSubtrees();
  let [oldHash, newHash] = [seed, seed];
  for (const sibling of rest) {
    if (path.isAtRoot) return false;
    if (path.siblingIsLeft) {
      oldHash = nodeHash(sibling, oldHash);
      newHash = nodeHash(sibling, newHash);
    } else {
      newHash = nodeHash(newHash, sibling);
    }
    path.climb();
  }
  return path.isAtRoot && equal(oldHash, oldRoot) && equal(newHash, newRoot);
}

/** A node and the last node of its level on the way up. Not bitwise: sizes may pass 32 bits. */
class Path {
  #node: number;
  #last: number;

  constructor(node: number, last: number) {
    this.#node = node;
    this.#last = last;
  }

  get isAtRoot(): boolean {
    return this.#last === 0;
  }

  get siblingIsLeft(): boolean {
    return this.#node % 2 === 1 || this.#node === this.#last;
  }

  climb(): void {
    // The last node of a level may have no sibling; it stands for itself on every level until it has one.
    if (this.siblingIsLeft) while (this.#node % 2 === 0 && this.#node !== 0) this.#halve();
    this.#halve();
  }

  climbWholeSubtrees(): void {
    while (this.#node % 2 === 1) this.#halve();
  }

  #halve(): void {
    this.#node = Math.floor(this.#node / 2);
    this.#last = Math.floor(this.#last / 2);
  }
}

function areSizes(...sizes: readonly number[]): boolean {
  return sizes.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function areHashes(proof: readonly Uint8Array[]): boolean {
  return proof.every(({ length }) => length === 32);
}

function equal(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
