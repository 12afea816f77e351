/**
 * Gives the memory of a buffer back at once, which nobody may look at any more: it is empty from then on. Does nothing to one that shares its memory with
 * others. V8 does not see how much stands behind buffers until it is 64 MiB, and then looks for them in all of its heap: where many pass
 * through, that is memory which nothing bounds, and half of the time.
 */
export function release({ buffer, byteLength }: Uint8Array): void {
  if (byteLength > 0 && byteLength === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0);
}
