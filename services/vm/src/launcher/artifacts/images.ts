import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { z } from "zod";
import { requireRootOnly } from "../files.ts";
import { LauncherError } from "../protocol.ts";
import type { ArtifactSet } from "./artifact-store.ts";

const maxManifestBytes = 64 * 1024;
const imageName = /^[a-z0-9][a-z0-9-]{0,39}$/;
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** What the launcher needs of an image's manifest; the rest of it is for others. */
const manifestSchema = z.object({
  sha256: z.strictObject({ vmlinux: sha256, "initrd.cpio": sha256, "rootfs.erofs": sha256 }),
  template: z.boolean().default(false),
});

/**
 * The files of an installed image, with the digests of its manifest. Throws IMAGE_MISSING when there is no manifest, HOST_UNSAFE when others
 * than root can change it, ARTIFACT_MISMATCH when it names no digests.
 */
export function imageArtifacts(imagesDir: string, image: string): ArtifactSet {
  const { sha256 } = readManifest(imagesDir, image);
  return { label: `image ${image}`, sourceDir: `${imagesDir}/${image}`, sha256, mode: 0o444 };
}

function readManifest(imagesDir: string, image: string): z.infer<typeof manifestSchema> {
  const path = `${imagesDir}/${image}/manifest.json`;
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isFile() !== true) throw new LauncherError("IMAGE_MISSING", `no file ${path}`);
  requireRootOnly(path);
  const manifest = found.size <= maxManifestBytes ? parse(readFileSync(path, "utf8")) : undefined;
  if (manifest === undefined) throw new LauncherError("ARTIFACT_MISMATCH", `${path} names no digests`);
  return manifest;
}

/** Whether the image says that its init waits for an identity. One that does not is always booted. Errors: those of `imageArtifacts`. */
export function mayBeTemplate(imagesDir: string, image: string): boolean {
  return readManifest(imagesDir, image).template;
}

/** Every installed image whose manifest can be read; the others are refused when somebody starts them. */
export function installedImages(imagesDir: string): ArtifactSet[] {
  const names = readdirSync(imagesDir).filter((name) => imageName.test(name));
  return names.sort().flatMap((name) => {
    try {
      return [imageArtifacts(imagesDir, name)];
    } catch (error) {
      if (error instanceof LauncherError) return [];
      throw error;
    }
  });
}

function parse(text: string): z.infer<typeof manifestSchema> | undefined {
  try {
    return manifestSchema.parse(JSON.parse(text));
  } catch (error) {
    if (error instanceof z.ZodError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
