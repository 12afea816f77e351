/** Machine code, an instruction a line. */
export type MachineCode = readonly (readonly [instruction: string, ...bytes: number[]])[];

const loadAddress = 0x400000n;
const headerBytes = 64;
const segmentBytes = 56;
const pageBytes = 0x1000n;
const readAndExecute = 5;

/** A static x86-64 ELF executable: one segment, readable and executable, that holds headers and code. The stack is not executable. */
export function staticProgram(code: MachineCode): Buffer {
  const text = Buffer.from(code.flatMap(([, ...bytes]) => bytes));
  const entry = headerBytes + 2 * segmentBytes;
  const size = BigInt(entry + text.length);
  return Buffer.concat([
    fileHeader(loadAddress + BigInt(entry)),
    segment({ type: 1, flags: readAndExecute, address: loadAddress, size, alignment: pageBytes }),
    // PT_GNU_STACK: without it the kernel makes the stack executable.
    segment({ type: 0x6474e551, flags: 6, address: 0n, size: 0n, alignment: 16n }),
    text,
  ]);
}

function fileHeader(entry: bigint): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // ELF, 64 bits, little endian, version 1
  header.writeUInt16LE(2, 16); // ET_EXEC
  header.writeUInt16LE(62, 18); // EM_X86_64
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(entry, 24);
  header.writeBigUInt64LE(BigInt(headerBytes), 32);
  header.writeUInt16LE(headerBytes, 52);
  header.writeUInt16LE(segmentBytes, 54);
  header.writeUInt16LE(2, 56);
  return header;
}

type Segment = {
  readonly type: number;
  readonly flags: number;
  readonly address: bigint;
  readonly size: bigint;
  readonly alignment: bigint;
};

function segment({ type, flags, address, size, alignment }: Segment): Buffer {
  const header = Buffer.alloc(segmentBytes);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(flags, 4);
  header.writeBigUInt64LE(address, 16);
  header.writeBigUInt64LE(address, 24);
  header.writeBigUInt64LE(size, 32);
  header.writeBigUInt64LE(size, 40);
  header.writeBigUInt64LE(alignment, 48);
  return header;
}
