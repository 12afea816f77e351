import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";

export const replacements = ["symlink", "hardlink", "fifo", "device", "directory"] as const;
export type Replacement = (typeof replacements)[number];

export interface Attack {
  readonly kind: Replacement;
  /** What is replaced: a file in the attacker's own directory. */
  readonly file: string;
  /** Where a symbolic or hard link leads. */
  readonly target: string;
}

/**
 * Puts something else where a file of the jail was, with the rights of whoever calls it, and returns whether that worked. A jail's user may
 * make no device node, and no hard link to what it could not write; the rest only takes a directory that it may write.
 */
export function replaceInJail({ kind, file, target }: Attack): boolean {
  const made = `${file}.attack`;
  try {
    rmSync(made, { recursive: true, force: true });
    makeReplacement(kind, made, target);
    rmSync(file, { recursive: true, force: true });
    renameSync(made, file);
    return true;
  } catch {
    rmSync(made, { recursive: true, force: true });
    return false;
  }
}

function makeReplacement(kind: Replacement, path: string, target: string): void {
  switch (kind) {
    case "symlink":
      return void symlinkSync(target, path);
    case "hardlink":
      return void linkSync(target, path);
    case "directory":
      return void mkdirSync(path);
    case "fifo":
      return void execFileSync("/usr/bin/mkfifo", [path], { stdio: "ignore" });
    case "device":
      return void execFileSync("/usr/bin/mknod", [path, "c", "1", "5"], { stdio: "ignore" });
  }
}
