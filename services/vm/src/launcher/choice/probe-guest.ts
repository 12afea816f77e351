/**
 * The guest of a probe: a real kernel, and an init of a few instructions that says in two ways that user space runs. It writes a line to
 * the console, which Firecracker prints, and a byte to the port of QEMU's debug-exit device, which ends QEMU with a status that
 * nothing else ends it with. A kernel that panics or resets reaches neither.
 */

/** The line that init writes to its console. */
export const aliveLine = "lobsterd-probe-alive";

const debugExitPort = 0xf4;
const aliveByte = 0x2a;
/** QEMU's status after `aliveByte` was written to the debug-exit device: the byte, shifted, with the lowest bit set. */
export const aliveStatus = (aliveByte << 1) | 1;
export const debugExitDevice = `isa-debug-exit,iobase=0x${debugExitPort.toString(16)},iosize=4`;

const systemCalls = { write: 1, reboot: 169, iopl: 172 } as const;
const reboot = { magic: 0xfee1dead, magic2: 0x28121969, restart: 0x01234567 } as const;
const loadAddress = 0x40_0000;
const headerBytes = 64 + 56;

/** An archive (newc) with /dev/console and /init. The same bytes each time. */
export function probeInitrd(): Buffer {
  return Buffer.concat([
    archiveEntry("dev", 0o40755),
    archiveEntry("dev/console", 0o20600, Buffer.alloc(0), { major: 5, minor: 1 }),
    archiveEntry("init", 0o100755, initProgram()),
    archiveEntry("TRAILER!!!", 0),
  ]);
}

/** A static ELF file of one segment: header, code, line. */
function initProgram(): Buffer {
  const line = Buffer.from(`${aliveLine}\n`);
  const write = (lineOffset: number) => [
    ...move(0xb8, systemCalls.write),
    ...move(0xbf, 1),
    ...[0x48, 0x8d, 0x35, ...littleEndian(lineOffset)], // lea rsi, [rip + lineOffset]
    ...move(0xba, line.length),
    ...systemCall,
  ];
  const rest = [
    ...[...move(0xb8, systemCalls.iopl), ...move(0xbf, 3), ...systemCall],
    ...[...move(0xb8, aliveByte), 0xe6, debugExitPort], // out port, al
    // Firecracker ends when its guest restarts.
    ...[...move(0xb8, systemCalls.reboot), ...move(0xbf, reboot.magic), ...move(0xbe, reboot.magic2)],
    ...[...move(0xba, reboot.restart), ...systemCall],
    ...[0xeb, 0xfe], // for ever
  ];
  const afterLoad = move(0xba, 0).length + systemCall.length;
  const code = Buffer.from([...write(afterLoad + rest.length), ...rest]);
  return Buffer.concat([elfHeader(headerBytes + code.length + line.length), code, line]);
}

const systemCall = [0x0f, 0x05];

/** Loads a 32-bit constant into the register that `opcode` names: b8 eax, ba edx, be esi, bf edi. */
function move(opcode: number, value: number): number[] {
  return [opcode, ...littleEndian(value)];
}

function littleEndian(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

function elfHeader(fileBytes: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.write("\x7fELF\x02\x01\x01", 0, "latin1");
  header.writeUInt16LE(2, 16); // executable
  header.writeUInt16LE(62, 18); // x86-64
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(BigInt(loadAddress + headerBytes), 24);
  header.writeBigUInt64LE(64n, 32); // the program header follows
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  header.writeUInt32LE(1, 64); // loaded
  header.writeUInt32LE(5, 68); // read, execute
  for (const [index, value] of [0, loadAddress, loadAddress, fileBytes, fileBytes, 4096].entries()) {
    header.writeBigUInt64LE(BigInt(value), 72 + index * 8);
  }
  return header;
}

function archiveEntry(
  name: string,
  mode: number,
  content: Buffer = Buffer.alloc(0),
  device = { major: 0, minor: 0 },
): Buffer {
  const fields = [1, mode, 0, 0, 1, 0, content.length, 0, 0, device.major, device.minor, name.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${name}\0`;
  return Buffer.concat([padded(Buffer.from(header, "latin1")), padded(content)]);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
