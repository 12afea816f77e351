import type { BigIntStats } from "node:fs";

/** Differs whenever the file was written again, or is another one. */
export function fileStamp({ ino, size, mtimeNs }: Pick<BigIntStats, "ino" | "size" | "mtimeNs">): string {
  return `${ino}:${size}:${mtimeNs}`;
}
