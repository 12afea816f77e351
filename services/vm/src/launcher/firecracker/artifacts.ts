import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { requireRootOnly } from "../files.ts";
import { imageFiles, LauncherError } from "../protocol.ts";

/**
 * Checks the files of one start: `files` has the path of the VM's copy of each image file by its name, and those of `firecracker` and
 * `jailer`. Throws ARTIFACT_MISMATCH.
 */
export type VerifyArtifacts = (image: string, files: Readonly<Record<string, string>>) => Promise<void>;

const manifestSchema = z.object({ sha256: z.record(z.string(), z.string().regex(/^[0-9a-f]{64}$/)) });

/** Compares the copies with the digests in the image's manifest, which is root's alone. The programs are not its affair. */
export function verifyByManifest(imagesDir: string): VerifyArtifacts {
  return async (image, files) => {
    const manifestPath = `${imagesDir}/${image}/manifest.json`;
    requireRootOnly(manifestPath);
    const { sha256 } = manifestSchema.parse(JSON.parse(readFileSync(manifestPath, "utf8")));
    for (const name of imageFiles) {
      if (sha256[name] === undefined || (await digestOf(files[name] ?? "")) !== sha256[name])
        throw new LauncherError("ARTIFACT_MISMATCH", `${name} of ${image} differs from its manifest`);
    }
  };
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
