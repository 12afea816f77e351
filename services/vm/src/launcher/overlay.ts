/** Makes the disk of a new VM: an empty ext4 file system that opens with the VM's key and no other. Nobody ever makes one in the place of another. */
import { createSecretKey } from "node:crypto";
import { chownSync } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import type { VmPaths } from "./config.ts";
import { type DiskKey, diskSectorBytes, encryptSectors } from "./disk-cipher.ts";
import { run } from "./processes.ts";

const mib = 1024 * 1024;
const withinMs = 30_000;
/** Prints where data begins and ends, line by line: Node has no call for `lseek(SEEK_DATA)`, and an empty file system is nearly all holes. */
const listData =
  'open my $f, "<", $ARGV[0] or exit 1; my $end = 0; while (defined(my $at = sysseek $f, $end, 3)) { $end = 0 + sysseek $f, $at, 4; print 0 + $at, " $end\\n" }';

/**
 * The plain file system, which holds nothing yet, is beside it until it was encrypted; blocks that mke2fs did not write are holes in both. `key` is
 * the caller's to clear.
 */
export async function createOverlay(
  { overlay, overlayCopy }: Pick<VmPaths, "overlay" | "overlayCopy">,
  sizeMib: number,
  uid: number,
  key: Uint8Array,
): Promise<void> {
  const cipherKey = createSecretKey(key);
  try {
    await using plain = await open(overlayCopy, "wx+", 0o600);
    await plain.truncate(sizeMib * mib);
    await makeFileSystem(overlayCopy);
    await using disk = await open(overlay, "wx", 0o600);
    await disk.truncate(sizeMib * mib);
    for (const line of (await run(["/usr/bin/perl", "-e", listData, overlayCopy], withinMs)).split("\n").slice(0, -1)) {
      const [begin = 0, end = 0] = line.split(" ").map(Number);
      await encryptRange(plain, disk, cipherKey, begin, end);
    }
    chownSync(overlay, uid, uid);
  } finally {
    await rm(overlayCopy, { force: true });
  }
}

/** With a journal. The guest's kernel fills in tables lazily, so this takes no time; a block is a sector of the disk's cipher. */
async function makeFileSystem(file: string): Promise<void> {
  const lazily = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0";
  const block = String(diskSectorBytes);
  await run(
    ["/usr/sbin/mkfs.ext4", "-q", "-F", "-m", "0", "-b", block, "-O", "has_journal", "-E", lazily, file],
    withinMs,
  );
}

async function encryptRange(
  plain: FileHandle,
  disk: FileHandle,
  key: DiskKey,
  begin: number,
  end: number,
): Promise<void> {
  for (let at = begin - (begin % diskSectorBytes); at < end; at += mib) {
    const bytes = Math.ceil(Math.min(mib, end - at) / diskSectorBytes) * diskSectorBytes;
    const { buffer, bytesRead } = await plain.read(Buffer.alloc(bytes), 0, bytes, at);
    if (bytesRead !== bytes) throw new RangeError("the file system is shorter than its disk");
    await disk.writev([encryptSectors(key, at / diskSectorBytes, buffer)], at);
  }
}
