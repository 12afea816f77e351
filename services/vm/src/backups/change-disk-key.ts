import { createSecretKey } from "node:crypto";
import { decryptSectors, diskSectorBytes, encryptSectors } from "../launcher/disk-cipher.ts";

const never = Buffer.alloc(diskSectorBytes);

/**
 * Takes a disk in order, in whole sectors, and returns each piece as it is under another key. What was never written stays so; a disk without a first key is plain, and
 * its zeros are data.
 */
export function changeDiskKey(from: Uint8Array | undefined, to: Uint8Array): (piece: Uint8Array) => Uint8Array {
  const [source, target] = [from && createSecretKey(from), createSecretKey(to)];
  let next = 0;
  return (piece) => {
    const sector = next;
    next += piece.length / diskSectorBytes;
    if (source === undefined) return encryptSectors(target, sector, piece);
    const changed = Buffer.alloc(piece.length);
    for (let at = 0; at < piece.length; at += diskSectorBytes) {
      const old = piece.subarray(at, at + diskSectorBytes);
      const number = sector + at / diskSectorBytes;
      if (!never.equals(old)) changed.set(encryptSectors(target, number, decryptSectors(source, number, old)), at);
    }
    return changed;
  };
}
