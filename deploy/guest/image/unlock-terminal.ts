import { type MachineCode, staticProgram } from "./static-program.ts";

/**
 * The one thing between an open /dev/ptmx and a terminal that Node cannot do: `ioctl(0, TIOCSPTLCK, &zero)` on standard input, as
 * unlockpt(3) does. Its exit status is the error's number. Nothing else of a terminal needs a program of ours (ADR 0043).
 */
const code: MachineCode = [
  ["xor edi, edi", 0x31, 0xff],
  ["mov esi, 0x40045431", 0xbe, 0x31, 0x54, 0x04, 0x40],
  ["lea rdx, [rip + 18]", 0x48, 0x8d, 0x15, 0x12, 0x00, 0x00, 0x00],
  ["mov eax, 16", 0xb8, 0x10, 0x00, 0x00, 0x00],
  ["syscall", 0x0f, 0x05],
  ["mov edi, eax", 0x89, 0xc7],
  ["neg edi", 0xf7, 0xdf],
  ["mov eax, 60", 0xb8, 0x3c, 0x00, 0x00, 0x00],
  ["syscall", 0x0f, 0x05],
  ["zero: .long 0", 0x00, 0x00, 0x00, 0x00],
];

export const unlockTerminalProgram = (): Buffer => staticProgram(code);
