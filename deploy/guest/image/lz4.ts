const legacyMagic = 0x184c2102;
/** The legacy frame cuts its input into blocks of this size before compressing, so no block unpacks to more. */
const legacyBlockBytes = 8 * 1024 * 1024;

/** Unpacks one LZ4 block into `target` at `start`; returns the offset after it. Throws when the block leaves its bounds. */
function unpackBlock(block: Buffer, target: Buffer, start: number): number {
  let read = 0;
  let write = start;
  const byte = (): number => {
    const value = block[read++];
    if (value === undefined) throw new Error("lz4 block is cut off");
    return value;
  };
  const length = (nibble: number): number => {
    let total = nibble;
    if (nibble === 15) {
      let more = 255;
      while (more === 255) {
        more = byte();
        total += more;
      }
    }
    return total;
  };
  while (read < block.length) {
    const token = byte();
    const literals = length(token >> 4);
    if (read + literals > block.length || write + literals > target.length)
      throw new Error("lz4 literals out of bounds");
    block.copy(target, write, read, read + literals);
    read += literals;
    write += literals;
    if (read === block.length) break; // the last sequence has no match
    const distance = byte() | (byte() << 8);
    const end = write + length(token & 15) + 4;
    if (distance === 0 || write - distance < start || end > target.length) throw new Error("lz4 match out of bounds");
    // A match may overlap what it writes, so it is copied byte by byte.
    for (; write < end; write++) target[write] = target[write - distance] ?? 0;
  }
  return write;
}

/** Unpacks an LZ4 legacy frame (what the kernel build uses) of which the unpacked size is known. */
export function unpackLegacyLz4(frame: Buffer, unpackedBytes: number): Buffer {
  if (frame.readUInt32LE(0) !== legacyMagic) throw new Error("not an lz4 legacy frame");
  const target = Buffer.alloc(unpackedBytes);
  let read = 4;
  let write = 0;
  while (write < unpackedBytes) {
    const size = frame.readUInt32LE(read);
    const block = frame.subarray(read + 4, read + 4 + size);
    if (block.length !== size) throw new Error("lz4 frame is cut off");
    const end = unpackBlock(block, target.subarray(0, Math.min(unpackedBytes, write + legacyBlockBytes)), write);
    if (end === write) throw new Error("lz4 block is empty");
    write = end;
    read += 4 + size;
  }
  return target;
}
