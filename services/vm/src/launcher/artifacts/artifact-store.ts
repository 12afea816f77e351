import { createHash } from "node:crypto";
import { chmodSync, constants, lstatSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { copyFile, open } from "node:fs/promises";
import { removeTree, requireRootOnly } from "../files.ts";
import { LauncherError } from "../protocol.ts";
import type { FileDigests } from "./file-digests.ts";

/** Files that are used together, with the SHA-256 (hexadecimal) that each must have. */
export interface ArtifactSet {
  /** What they are, for people. */
  readonly label: string;
  readonly sourceDir: string;
  /** By name in `sourceDir`; names are fixed by the caller, never taken from outside. */
  readonly sha256: Readonly<Record<string, string>>;
  /** Permission bits of the copies: 0444, or 0555 for programs. */
  readonly mode: 0o444 | 0o555;
}

/**
 * The launcher's own copies of what guests are started from. A copy is made once, compared with its digests, and from then on
 * compared again before each use; the copy is what is used. So the file that somebody replaces or writes to after the check is not
 * the one that runs.
 */
export interface ArtifactStore {
  /**
   * The directory of the verified copy, made at the first call. Throws ARTIFACT_MISMATCH when source or copy differ from the digests in one
   * byte, with the file's name. A copy that went bad is never mended here: it stays, refused, until somebody looked and deleted it.
   */
  verified(set: ArtifactSet): Promise<string>;
  /** Deletes every copy but those of `kept`, and what a crash left half made. Only while no VM is being started. */
  prune(kept: readonly ArtifactSet[]): void;
}

export function openArtifactStore(base: string, digests: FileDigests): ArtifactStore {
  mkdirSync(base, { recursive: true, mode: 0o755 });
  chmodSync(base, 0o755);
  requireRootOnly(base);
  const making = new Map<string, Promise<void>>();

  async function make(set: ArtifactSet, directory: string): Promise<void> {
    const draft = `${directory}.draft`;
    removeTree(draft);
    mkdirSync(draft);
    try {
      for (const name of Object.keys(set.sha256)) {
        await copyDurably(`${set.sourceDir}/${name}`, `${draft}/${name}`, set.mode);
      }
      await requireDigests(set, draft, digests);
      // The launcher's umask closes new directories to the jail's uid.
      chmodSync(draft, 0o755);
      renameSync(draft, directory);
    } finally {
      removeTree(draft);
    }
  }

  return {
    async verified(set) {
      const directory = `${base}/${nameOf(set)}`;
      if (lstatSync(directory, { throwIfNoEntry: false }) === undefined) {
        const running = making.get(directory) ?? make(set, directory).finally(() => making.delete(directory));
        making.set(directory, running);
        await running;
      }
      await requireDigests(set, directory, digests);
      return directory;
    },
    prune(kept) {
      const names = new Set(kept.map(nameOf));
      for (const name of readdirSync(base)) if (!names.has(name)) removeTree(`${base}/${name}`);
    },
  };
}

/** The name of a copy follows from its digests, so a set with one other byte is another directory. */
function nameOf({ sha256, mode }: ArtifactSet): string {
  return digestOfAll(sha256, mode.toString(8));
}

/** One digest over names and digests of several files, in the order of their names. */
export function digestOfAll(sha256: Readonly<Record<string, string>>, prefix = ""): string {
  const hash = createHash("sha256").update(prefix);
  for (const name of Object.keys(sha256).sort()) hash.update(`${name}\0${sha256[name]}\n`);
  return hash.digest("hex");
}

async function requireDigests({ label, sha256 }: ArtifactSet, directory: string, digests: FileDigests): Promise<void> {
  for (const [name, expected] of Object.entries(sha256)) {
    await requireDigest(label, `${directory}/${name}`, expected, digests);
  }
}

/** Throws ARTIFACT_MISMATCH unless the file is there and has the digest; one of which no digest is known never has it. */
export async function requireDigest(
  label: string,
  path: string,
  expected: string | undefined,
  digests: FileDigests,
): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) {
    throw new LauncherError("ARTIFACT_MISMATCH", `${label}: ${path} is gone`);
  }
  const actual = await digests.of(path);
  if (actual === expected) return;
  throw new LauncherError("ARTIFACT_MISMATCH", `${label}: SHA-256 of ${path} is ${actual}, not ${expected ?? "known"}`);
}

/** A power cut must not leave a copy that is refused for ever, so it is on the disk before it has its name. */
async function copyDurably(from: string, to: string, mode: number): Promise<void> {
  if (!lstatSync(from, { throwIfNoEntry: false })?.isFile()) {
    throw new LauncherError("ARTIFACT_MISMATCH", `${from} is not a file`);
  }
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  chmodSync(to, mode);
  const copy = await open(to, "r");
  try {
    await copy.sync();
  } finally {
    await copy.close();
  }
}
