import { type MachineCode, staticProgram } from "./static-program.ts";

/**
 * `ioctl(0, RNDRESEEDCRNG)` on standard input, which is /dev/urandom: the kernel's generator takes a new key out of its pool now. A write to
 * the device only mixes into the pool, and the key, which every guest of one template has, would be used for up to a minute more. Its
 * exit status is the error's number.
 */
const code: MachineCode = [
  ["xor edi, edi", 0x31, 0xff],
  ["mov esi, 0x5207", 0xbe, 0x07, 0x52, 0x00, 0x00],
  ["xor edx, edx", 0x31, 0xd2],
  ["mov eax, 16", 0xb8, 0x10, 0x00, 0x00, 0x00],
  ["syscall", 0x0f, 0x05],
  ["mov edi, eax", 0x89, 0xc7],
  ["neg edi", 0xf7, 0xdf],
  ["mov eax, 60", 0xb8, 0x3c, 0x00, 0x00, 0x00],
  ["syscall", 0x0f, 0x05],
];

export const reseedKernelProgram = (): Buffer => staticProgram(code);
