/**
 * The part of an ELF64 executable that the kernel maps: program headers and what they point at, without symbols, debugging
 * sections and the section table. It does what `strip -s` does to a file that is only run, without depending on a
 * version of binutils for identical output.
 */
export function loadablePart(elf: Buffer): Buffer {
  if (elf.readUInt32BE(0) !== 0x7f454c46 || elf[4] !== 2 || elf[5] !== 1)
    throw new Error("not a little-endian ELF64 file");
  const tableOffset = Number(elf.readBigUInt64LE(32));
  const entryBytes = elf.readUInt16LE(54);
  const entries = elf.readUInt16LE(56);
  let end = tableOffset + entryBytes * entries;
  for (let index = 0; index < entries; index++) {
    const entry = tableOffset + index * entryBytes;
    end = Math.max(end, Number(elf.readBigUInt64LE(entry + 8)) + Number(elf.readBigUInt64LE(entry + 32)));
  }
  if (end > elf.length) throw new Error("ELF segments reach past the end of the file");
  const part = Buffer.from(elf.subarray(0, end));
  part.writeBigUInt64LE(0n, 40); // offset of the section table
  part.writeUInt16LE(0, 60); // its entries
  part.writeUInt16LE(0, 62); // the entry with its names
  return part;
}
