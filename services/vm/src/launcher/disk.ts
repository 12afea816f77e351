/**
 * A VM's disk as bytes, out and in. A VMM writes its own overlay and nothing else, and nobody names a path: what goes out is a copy that has no name,
 * what comes in is a file of its own until it is whole.
 */
import { constants, createReadStream, lstatSync, openSync, renameSync, rmSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { Duplex } from "node:stream";
import { type LauncherConfig, vmPaths } from "./config.ts";
import { isRunning, type LauncherHost, requireRecord } from "./host.ts";
import { run } from "./processes.ts";
import { LauncherError, type Result } from "./protocol.ts";
import { receiveFile, writeFully } from "./receive-file.ts";
import { syncDirectory } from "./records.ts";

const mib = 1024 * 1024;
/** A guest may be paused for it. */
const copyWithinMs = 120_000;
const pieceBytes = 256 * 1024;
const zeros = Buffer.alloc(64 * 1024);

/** The disk as it is when this resolves; the VM may go on. Blocks are shared where the file system can, and holes stay holes. */
export async function readDisk(host: LauncherHost, vmId: string): Promise<Duplex> {
  requireRecord(host, vmId);
  const { overlay, overlayCopy } = vmPaths(host.config, vmId);
  dropCopy(host.config, vmId); // of a launcher that was killed
  try {
    await run(["/usr/bin/cp", "--reflink=auto", "--sparse=auto", "-T", overlay, overlayCopy], copyWithinMs);
    const fd = openSync(overlayCopy, constants.O_RDONLY | constants.O_NOFOLLOW);
    return Duplex.from(createReadStream("", { fd, highWaterMark: pieceBytes }));
  } finally {
    dropCopy(host.config, vmId);
  }
}

/** What a VMM that stands still has written is durable on return. Firecracker flushes nothing when its guest is paused. */
export async function syncDisk(overlay: string): Promise<void> {
  await using disk = await open(overlay, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  await disk.sync();
}

/** Takes a whole disk, of exactly the size of the VM's own, and answers once it is durable. What is not whole is gone with the stream. */
export async function writeDisk(host: LauncherHost, vmId: string): Promise<Duplex> {
  const { uid, bytes } = requireStopped(host, vmId);
  const { nextOverlay } = vmPaths(host.config, vmId);
  dropNextDisk(host.config, vmId);
  const file = await open(nextOverlay, "wx", 0o600);
  return receiveFile(file, {
    ...{ shortest: bytes, longest: bytes },
    write: (piece, offset) => writeNonZero(file, piece, offset),
    async finish() {
      await file.truncate(bytes);
      await file.sync();
      await file.chown(uid, uid);
      await file.sync();
    },
    giveUp: () => dropNextDisk(host.config, vmId),
  });
}

/** Puts a disk that came whole in the place of the VM's own. Durable on return; safe to repeat. */
export async function replaceDisk(host: LauncherHost, vmId: string): Promise<Result<"replaceDisk">> {
  const { uid } = requireStopped(host, vmId);
  const { disk, overlay, nextOverlay } = vmPaths(host.config, vmId);
  const found = lstatSync(nextOverlay, { throwIfNoEntry: false });
  if (found === undefined) return {};
  if (found.uid !== uid) throw new LauncherError("WRONG_STATE", "the next disk is not whole");
  renameSync(nextOverlay, overlay);
  syncDirectory(disk);
  return {};
}

export function dropNextDisk(config: LauncherConfig, vmId: string): void {
  rmSync(vmPaths(config, vmId).nextOverlay, { force: true });
}

export function dropCopy(config: LauncherConfig, vmId: string): void {
  rmSync(vmPaths(config, vmId).overlayCopy, { force: true });
}

function requireStopped(host: LauncherHost, vmId: string): { readonly uid: number; readonly bytes: number } {
  const { slot, overlayMib } = requireRecord(host, vmId);
  if (isRunning(host, vmId)) throw new LauncherError("WRONG_STATE", "it runs");
  return { uid: host.config.uidBase + slot, bytes: overlayMib * mib };
}

/** A hole reads as zeros and takes no space. */
async function writeNonZero(file: FileHandle, piece: Buffer, offset: number): Promise<void> {
  for (let at = 0; at < piece.length; at += zeros.length) {
    const part = piece.subarray(at, at + zeros.length);
    if (zeros.subarray(0, part.length).equals(part)) continue;
    await writeFully(file, part, offset + at);
  }
}
