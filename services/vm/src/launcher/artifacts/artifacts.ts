import type { LauncherConfig } from "../config.ts";
import { openArtifactStore, requireDigest } from "./artifact-store.ts";
import { createFileDigests, type FileDigests } from "./file-digests.ts";
import { imageArtifacts, installedImages } from "./images.ts";
import { firecrackerArtifacts } from "./lock.ts";
import { requireTree } from "./vmm-tree-digest.ts";

/** What is checked before each start, whatever the VMM. Every refusal is ARTIFACT_MISMATCH with the file's name. */
export interface Artifacts {
  readonly digests: FileDigests;
  /** Directory with the verified vmlinux, initrd.cpio and rootfs.erofs of an installed image; IMAGE_MISSING when it is not installed. */
  image(name: string): Promise<string>;
  /**
   * Compares files that are about to be used where they are, by their names: an image's against its manifest, `firecracker` and `jailer` against
   * the lock. For a VMM whose VMs have copies of their own; a name that neither knows is a mismatch.
   */
  verifyFiles(image: string, files: Readonly<Record<string, string>>): Promise<void>;
  /** Makes the copies of all installed images, one after the other, so that the first start need not. `refused` hears of each that is bad. */
  copyInstalled(refused: (image: string, error: unknown) => void): Promise<void>;
  /**
   * Directory with the verified `firecracker` and `jailer` of the locked release, executable, root's alone. Starting another file than one of this
   * directory starts something that was not checked.
   */
  firecracker(): Promise<string>;
  /** Compares a tree of `buildVmmTree` with the digest in its name. */
  requireTree(directory: string): Promise<void>;
}

/** Opens the launcher's store of verified copies below `state/artifacts` and deletes what no installed image needs any more. */
export function openArtifacts({
  stateDir,
  imagesDir,
  vmm,
}: Pick<LauncherConfig, "stateDir" | "imagesDir" | "vmm">): Artifacts {
  const digests = createFileDigests();
  const images = openArtifactStore(`${stateDir}/artifacts/images`, digests);
  const programs = openArtifactStore(`${stateDir}/artifacts/firecracker`, digests);
  images.prune(installedImages(imagesDir));
  return {
    digests,
    image: async (name) => images.verified(imageArtifacts(imagesDir, name)),
    firecracker: async () => programs.verified(firecrackerArtifacts(vmm.firecrackerDir)),
    async verifyFiles(image, files) {
      const expected: Readonly<Record<string, string>> = {
        ...imageArtifacts(imagesDir, image).sha256,
        ...firecrackerArtifacts(vmm.firecrackerDir).sha256,
      };
      for (const [name, path] of Object.entries(files)) await requireDigest(name, path, expected[name], digests);
    },
    async copyInstalled(refused) {
      for (const set of installedImages(imagesDir)) {
        await images.verified(set).catch((error: unknown) => refused(set.label, error));
      }
    },
    requireTree: (directory) => requireTree(directory, digests),
  };
}
