import { unpackLegacyLz4 } from "./lz4.ts";

const maximumKernelBytes = 256 * 1024 * 1024;

/**
 * The uncompressed ELF inside a Debian kernel. Firecracker takes nothing else, and QEMU's microvm starts it through PVH without
 * the decompressor. Offsets are those of the x86 boot protocol (Documentation/arch/x86/boot.rst), 2.08 or later.
 */
export function extractVmlinux(bzImage: Buffer): Buffer {
  if (bzImage.toString("latin1", 0x202, 0x206) !== "HdrS") throw new Error("not a Linux bzImage");
  const setupSectors = bzImage[0x1f1] || 4;
  const start = (setupSectors + 1) * 512 + bzImage.readUInt32LE(0x248);
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(0x24c));
  // The kernel build appends the unpacked size to what the compressor wrote.
  const unpackedBytes = payload.readUInt32LE(payload.length - 4);
  if (unpackedBytes > maximumKernelBytes) throw new Error(`kernel claims to unpack to ${unpackedBytes} bytes`);
  const vmlinux = unpackLegacyLz4(payload.subarray(0, payload.length - 4), unpackedBytes);
  if (vmlinux.readUInt32BE(0) !== 0x7f454c46) throw new Error("the kernel's payload is not an ELF file");
  return vmlinux;
}
