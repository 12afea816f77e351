import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { isAbsence } from "@lobsterd/chassis/absence.ts";
import { z } from "zod";

const namePattern = /^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/;

const digest = z.string().regex(/^[0-9a-f]{64}$/);

const manifestSchema = z.object({
  name: z.string(),
  minimumMemoryMib: z.number().int().min(32),
  defaultMemoryMib: z.number().int().min(32),
  /** How long the workload may take to be healthy; absent: as long as the host allows any. */
  startLimitMs: z.number().int().min(1000).max(3_600_000).optional(),
  /** Digests of its artifacts, 64 hexadecimal digits each. */
  sha256: z.object({ vmlinux: digest, "initrd.cpio": digest, "rootfs.erofs": digest }),
});

/** What `vm` needs of an image's manifest. */
export type ImageSummary = Readonly<z.infer<typeof manifestSchema>>;

/** The images installed on this host. The launcher opens them by name itself; this only answers questions about them. */
export interface ImageCatalogue {
  find(name: string): Promise<ImageSummary | undefined>;
  names(): Promise<readonly string[]>;
}

/** Reads `<imagesDir>/<name>/manifest.json`. The directory belongs to root; an unreadable manifest is an error, not an absence. */
export function openImageCatalogue(imagesDir: string): ImageCatalogue {
  return {
    find: async (name) => {
      if (!namePattern.test(name)) return undefined;
      let text: string;
      try {
        text = await readFile(join(imagesDir, name, "manifest.json"), "utf8");
      } catch (error) {
        if (isAbsence(error)) return undefined;
        throw error;
      }
      return manifestSchema.parse(JSON.parse(text));
    },
    names: async () => (await readdir(imagesDir)).filter((name) => namePattern.test(name)).sort(),
  };
}
