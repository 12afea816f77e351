import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { chmod, copyFile } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import type { Instance } from "./instance.ts";

const imageName = /^[a-z0-9][a-z0-9-]{0,39}$/;
const imageFiles = ["vmlinux", "initrd.cpio", "rootfs.erofs"] as const;
const digest = z.string().regex(/^[0-9a-f]{64}$/);
const manifestSchema = z.object({
  sha256: z.object({ vmlinux: digest, "initrd.cpio": digest, "rootfs.erofs": digest }),
});

/** Where the image builder leaves its images. */
export function builtImagesDir(checkout: string): string {
  return `${checkout}/.cache/images`;
}

/**
 * Copies the built guest images to the instance, root 0444, and compares every file with the image's manifest. An image
 * that is there with the same manifest is left alone. Returns the names of what was copied; `without` are not.
 */
export async function installImages(instance: Instance, without: readonly string[] = []): Promise<string[]> {
  const source = builtImagesDir(instance.checkout);
  if (!existsSync(source)) return [];
  const installed: string[] = [];
  for (const name of readdirSync(source).sort()) {
    const from = `${source}/${name}`;
    if (without.includes(name) || !imageName.test(name) || !existsSync(`${from}/manifest.json`)) continue;
    const to = `${instance.stateDir}/images/${name}`;
    const manifest = readFileSync(`${from}/manifest.json`);
    if (existsSync(`${to}/manifest.json`) && readFileSync(`${to}/manifest.json`).equals(manifest)) continue;
    await installImage(from, to, manifestSchema.parse(JSON.parse(manifest.toString("utf8"))).sha256);
    installed.push(name);
  }
  return installed;
}

async function installImage(
  from: string,
  to: string,
  digests: Readonly<Record<(typeof imageFiles)[number], string>>,
): Promise<void> {
  const draft = mkdtempSync(`${to}.draft-`);
  try {
    for (const file of [...imageFiles, "manifest.json"]) {
      await copyFile(`${from}/${file}`, `${draft}/${file}`);
      await chmod(`${draft}/${file}`, 0o444);
    }
    // The copy is compared, not the source: nobody but root can change the copy any more.
    for (const file of imageFiles) {
      const actual = await digestOf(`${draft}/${file}`);
      if (actual !== digests[file])
        throw new Error(`${from}/${file} has SHA-256 ${actual}, its manifest says ${digests[file]}`);
    }
    await chmod(draft, 0o755);
    // A running guest keeps the files of the old directory open.
    rmSync(to, { recursive: true, force: true });
    renameSync(draft, to);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest("hex");
}
