/**
 * The two files of a Firecracker's saved state. They are in a directory of root's on the instance's tmpfs, which is mounted into the jail: the VMM writes and
 * reads what is in them, and can neither take their names away nor put anything else there. `channels.ts` carries them.
 */
import { chownSync, closeSync, createReadStream, openSync, rmSync, type Stats, statfsSync } from "node:fs";
import { open } from "node:fs/promises";
import { Duplex } from "node:stream";
import { vmPaths } from "./config.ts";
import { requireRootOnly } from "./files.ts";
import { isRunning, type LauncherHost, memoryBytesOf, requireRecord } from "./host.ts";
import { run } from "./processes.ts";
import { LauncherError, type Result } from "./protocol.ts";
import { receiveFile, writeFully } from "./receive-file.ts";

const mib = 1024 * 1024;
const longestState = 16 * mib;
const pieceBytes = 256 * 1024;
const allocateWithinMs = 15_000;
const names = ["memory", "state"] as const;

/**
 * Makes both files new, for a VMM that is about to write them. The memory that `memory` takes is the launcher's from the start, and not of the VM's cgroup, which it
 * would fill: the VMM truncates only a file of another length.
 */
export async function makeRoom(host: LauncherHost, vmId: string): Promise<Result<"makeRoom">> {
  const { slot } = requireRecord(host, vmId);
  if (!host.jailer.channels.memory) throw new LauncherError("WRONG_STATE", "this VMM writes no files");
  if (!isRunning(host, vmId)) throw new LauncherError("NOT_FOUND", "it does not run");
  const { saved } = vmPaths(host.config, vmId);
  const [uid, bytes] = [host.config.uidBase + slot, memoryBytesOf(host, vmId)];
  requireRootOnly(saved);
  clearRoom(host, vmId);
  requireRoom(saved, bytes);
  try {
    for (const name of names) closeSync(openSync(`${saved}/${name}`, "wx", 0o600));
    await run(["/usr/bin/fallocate", "--length", String(bytes), `${saved}/memory`], allocateWithinMs);
    for (const name of names) chownSync(`${saved}/${name}`, uid, uid);
  } catch (error) {
    clearRoom(host, vmId);
    throw error;
  }
  return { memoryMib: bytes / mib };
}

/** What a VMM has open of the files it keeps; nobody finds them any more. Safe to repeat. */
export function clearRoom(host: LauncherHost, vmId: string): Result<"clearRoom"> {
  requireRecord(host, vmId);
  for (const name of names) rmSync(`${vmPaths(host.config, vmId).saved}/${name}`, { recursive: true, force: true });
  return {};
}

/** How long a file is at least, and at most: the memory is exactly as long as the guest's. */
const bytesOf = (name: string, memoryBytes: number) =>
  name === "memory" ? ([memoryBytes, memoryBytes] as const) : ([1, longestState] as const);

export function fitsSaved(name: string, found: Stats, memoryBytes: number): boolean {
  const [shortest, longest] = bytesOf(name, memoryBytes);
  return found.isFile() && found.size >= shortest && found.size <= longest;
}

/** What a VMM wrote, as long as it was when it was looked at. */
export function sendSaved(fd: number, bytes: number): Duplex {
  return Duplex.from(createReadStream("", { fd, highWaterMark: pieceBytes, end: bytes - 1 }));
}

/** Takes a file for a VMM that is about to load it, and answers once it is the VMM's. What is not whole is gone with the stream. */
export async function receiveSaved(saved: string, name: string, uid: number, memoryBytes: number): Promise<Duplex> {
  const path = `${saved}/${name}`;
  const [shortest, longest] = bytesOf(name, memoryBytes);
  const drop = () => rmSync(path, { recursive: true, force: true });
  requireRootOnly(saved);
  drop();
  requireRoom(saved, longest);
  const file = await open(path, "wx", 0o600);
  return receiveFile(file, {
    ...{ shortest, longest },
    write: (piece, offset) => writeFully(file, piece, offset),
    finish: () => file.chown(uid, uid),
    giveUp: drop,
  });
}

/** Before anything is paused or sent. */
function requireRoom(saved: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(saved);
  const free = bavail * bsize - longestState; // of which starts and the other file have need
  if (free < bytes) throw new LauncherError("VMM_FAILED", `no room: ${free} bytes are free for ${bytes} of its memory`);
}
