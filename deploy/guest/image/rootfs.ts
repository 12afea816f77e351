import { chmod, copyFile, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { configurationFiles, directories, type PackageFile, symlinks } from "./contents.ts";
import { runTool } from "./tool.ts";

/** What an image runs, as files: path in the image, mode, content. */
export type ProgramFile = { readonly path: string; readonly mode: number; readonly content: Uint8Array | string };

/** What differs between images. */
export type ImageFiles = {
  readonly packaged: readonly PackageFile[];
  readonly programs: readonly ProgramFile[];
  /** Directories on the builder, and where their regular files go; nothing of them is executable. */
  readonly trees: readonly { readonly from: string; readonly to: string }[];
};

/** Equal trees must give equal images, and mkfs.erofs makes up a random UUID unless it is told one. */
const fileSystemUuid = "6c6f6273-7465-7264-6775-657374000001";

async function place(path: string, mode: number, content: Uint8Array | string): Promise<void> {
  await writeFile(path, content);
  await chmod(path, mode);
}

/**
 * Builds the root file system's tree at `root`, which must not exist. `extracted` holds one directory per package.
 * Files are made in a fixed order with explicit modes, whatever the caller's umask is.
 */
export async function assembleTree(root: string, extracted: string, files: ImageFiles): Promise<void> {
  await mkdir(root);
  await chmod(root, 0o755);
  for (const [path, mode] of directories) {
    await mkdir(join(root, path));
    await chmod(join(root, path), mode);
  }
  for (const file of files.packaged) {
    const target = join(root, file.to);
    // Follows links, so that a library is one file under the name that programs ask for.
    await copyFile(join(extracted, file.package, file.from), target);
    await chmod(target, file.to.startsWith("usr/bin/") || file.to.includes("/ld-linux") ? 0o755 : 0o644);
  }
  for (const [path, target] of symlinks) await symlink(target, join(root, path));
  for (const [path, mode, text] of configurationFiles) await place(join(root, path), mode, text);
  for (const program of files.programs) {
    await mkdir(dirname(join(root, program.path)), { recursive: true });
    await place(join(root, program.path), program.mode, program.content);
  }
  for (const { from, to } of files.trees) await copyTree(from, join(root, to));
}

/** A link or device in it is an error, not something to follow or to leave out. */
async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to);
  await chmod(to, 0o755);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await copyTree(source, target);
    else if (entry.isFile()) {
      await copyFile(source, target);
      await chmod(target, 0o644);
    } else throw new Error(`${source} is neither a file nor a directory`);
  }
}

/**
 * Packs a tree into an uncompressed erofs image: under TCG unpacking costs more than reading, and every guest of a host
 * shares one copy in the page cache.
 */
export async function packTree(root: string, image: string): Promise<void> {
  const flags = ["-x-1", "-T0", "--all-root", "-U", fileSystemUuid, "--quiet"];
  await runTool(["mkfs.erofs", ...flags, image, root]);
}
