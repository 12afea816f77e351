import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { LauncherError } from "../protocol.ts";
import { digestOfAll } from "./artifact-store.ts";
import type { FileDigests } from "./file-digests.ts";

/** The digest over all files of a tree of the VMM: the name of its directory, so it says itself what it must be. */
export async function treeDigest(directory: string, digests: FileDigests): Promise<string> {
  const found: Record<string, string> = {};
  for (const path of filesBelow(directory, "")) found[path] = await digests.of(`${directory}${path}`);
  return digestOfAll(found);
}

/**
 * Throws ARTIFACT_MISMATCH unless the tree `<base>/<digest>` has exactly the files that its name stands for: one more, one less or one
 * other byte is another digest.
 */
export async function requireTree(directory: string, digests: FileDigests): Promise<void> {
  const actual = await treeDigest(directory, digests);
  if (actual !== basename(directory)) {
    throw new LauncherError("ARTIFACT_MISMATCH", `the VMM's tree ${directory} has the digest ${actual} now`);
  }
}

/** Paths from `root` on. Anything but files and directories is refused by name: a link would lead out of the tree. */
function filesBelow(root: string, path: string): string[] {
  return readdirSync(`${root}${path}`, { withFileTypes: true }).flatMap((entry) => {
    const below = `${path}/${entry.name}`;
    if (entry.isDirectory()) return filesBelow(root, below);
    if (entry.isFile()) return [below];
    throw new LauncherError("ARTIFACT_MISMATCH", `${root}${below} is neither a file nor a directory`);
  });
}
