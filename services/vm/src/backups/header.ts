import { encodeHeader, headerDigest, type SealedHeader } from "../sealing/header.ts";

/** The one part of a backup: the tenant's disk. */
export const diskPart = "overlay";
export const mib = 1024 * 1024;

/** Names the backup by all that its header says. */
export function backupIdOf(header: SealedHeader): string {
  return headerDigest(encodeHeader(header)).toString("hex").slice(0, 32);
}

/** Size of the disk that a backup holds; undefined for a set that is no backup of a disk. */
export function diskMibOf({ kind, parts }: SealedHeader): number | undefined {
  const [part, ...others] = parts;
  if (kind !== "backup" || part?.name !== diskPart || others.length > 0) return undefined;
  const size = (part.plainBytes ?? 0) / mib;
  return Number.isInteger(size) && size > 0 ? size : undefined;
}
