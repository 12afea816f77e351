/**
 * How PID 1 opens the guest's disk: three requests of the kernel's device mapper (create `dm-0`, give it its table, let it run), each as the image's `map-disk`
 * hands it on, in the last 3 KiB of the identity drive. So neither a shell, an argument nor a file ever has the key, and the cipher is named here only. All zeros: the
 * disk is plain.
 */
import { diskSectorBytes } from "../launcher/disk-cipher.ts";

export const mappingBytes = 3 * 1024;

const requestBytes = 1024;
/** `struct dm_ioctl` and `struct dm_target_spec` of linux/dm-ioctl.h, version 4. */
const headBytes = 312;
const targetBytes = 40;
const commands = { create: 3, resume: 6, loadTable: 9 } as const;
/** The kernel clears its copy of the request. */
const secureData = 1 << 15;
const name = "overlay";
/** What a table's length is counted in. */
const unitBytes = 512;

/** Puts the requests where PID 1 looks for them: at the end of an identity drive, which holds the key from then on. */
export function putDiskMapping(drive: Buffer, key: Uint8Array, mib: number): void {
  const mapping = composeDiskMapping(key, mib);
  drive.set(mapping, drive.length - mappingBytes);
  mapping.fill(0);
}

/** `mib` is the size of the disk; the caller clears the result. */
export function composeDiskMapping(key: Uint8Array, mib: number): Buffer {
  const mapping = Buffer.alloc(mappingBytes);
  request(mapping, "create");
  const table = request(mapping.subarray(requestBytes), "loadTable");
  table.writeUInt32LE(1, 20); // one target
  table.writeUInt32LE(secureData, 28);
  const target = table.subarray(headBytes);
  target.writeBigUInt64LE(BigInt((mib * 1024 * 1024) / unitBytes), 8);
  target.write("crypt", 24);
  const options = `2 sector_size:${diskSectorBytes} iv_large_sectors`;
  target.write(`aes-xts-plain64 ${Buffer.from(key).toString("hex")} 0 /dev/vdb 0 ${options}`, targetBytes);
  request(mapping.subarray(2 * requestBytes), "resume");
  return mapping;
}

/** The ioctl's number in 8 bytes, then what it takes: that part is returned. */
function request(bytes: Buffer, command: keyof typeof commands): Buffer {
  // _IOWR(0xfd, command, struct dm_ioctl)
  bytes.writeUInt32LE(0xc0000000 + headBytes * 0x10000 + 0xfd00 + commands[command], 0);
  const head = bytes.subarray(8, requestBytes);
  head.writeUInt32LE(4, 0); // version 4.0.0
  head.writeUInt32LE(head.length, 12); // size of all of it
  head.writeUInt32LE(headBytes, 16); // where a target begins
  head.write(name, 48);
  return head;
}
