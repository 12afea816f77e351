/**
 * Where the hashes of an RFC 6962 tree are kept, by level (0 holds leaf hashes) and index in the level.
 *
 * A subtree's hash is fixed as soon as its last leaf is there, and is written then: after each leaf hash come the hashes of the subtrees
 * that this leaf completes, lowest first. So the file only grows, holds fewer than two hashes for a record, and each has one place for ever.
 */

/** Position of a hash, counted in hashes. */
export function hashPosition(level: number, index: number): number {
  // The hash of a subtree follows that of its last leaf, `level` places later.
  const lastLeaf = (index + 1) * 2 ** level - 1;
  return hashCount(lastLeaf) + level;
}

/** How many hashes a tree of `size` leaves has: the leaves, the whole pairs, the whole fours, and so on. */
export function hashCount(size: number): number {
  let count = 0;
  for (let whole = size; whole > 0; whole = Math.floor(whole / 2)) count += whole;
  return count;
}
