import { hashPosition } from "./hash-layout.ts";
import type { HashStore } from "./hash-store.ts";
import { emptyRoot, Frontier } from "./merkle.ts";
import { consistencyProof, inclusionProof, type ReadHash, subtreeRoot } from "./proofs.ts";

/** The tree over the log's records. In memory is only its right edge; a proof reads a logarithmic number of stored hashes. */
export class MerkleTree {
  readonly #store: HashStore;
  readonly #frontier = new Frontier();
  readonly #read: ReadHash;

  /** `store` is empty, and filled from the log: it is derived from it and holds no truth of its own. */
  constructor(store: HashStore) {
    this.#store = store;
    this.#read = (level, index) => store.read(hashPosition(level, index));
  }

  get size(): number {
    return this.#frontier.size;
  }

  /** Adds the next leaf hashes, in order. */
  add(leafHashes: Iterable<Uint8Array>): void {
    for (const leafHash of leafHashes) this.#store.append(this.#frontier.add(leafHash));
  }

  root(): Buffer {
    return this.#frontier.root();
  }

  /** Root of the first `size` leaves, `size` being at most that of the tree. */
  rootAt(size: number): Uint8Array {
    return size === 0 ? emptyRoot : subtreeRoot(this.#read, 0, size);
  }

  /** 0 <= sequence < size <= this.size */
  inclusionProof(sequence: number, size: number): readonly Uint8Array[] {
    return inclusionProof(this.#read, sequence, size);
  }

  /** 1 <= oldSize <= newSize <= this.size */
  consistencyProof(oldSize: number, newSize: number): readonly Uint8Array[] {
    return consistencyProof(this.#read, oldSize, newSize);
  }

  close(): void {
    this.#store.close();
  }
}
