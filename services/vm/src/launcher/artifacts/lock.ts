import { readFileSync } from "node:fs";
import { z } from "zod";
import { LauncherError } from "../protocol.ts";
import type { ArtifactSet } from "./artifact-store.ts";
import { judge, readVersionTable, type VersionTable } from "./firecracker-versions.ts";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const lockSchema = z.strictObject({
  firecracker: z.strictObject({
    version: z.string(),
    architecture: z.literal("x86_64"),
    archiveUrl: z.string().startsWith("https://github.com/firecracker-microvm/firecracker/releases/download/"),
    archiveSha256: sha256,
    /** By the name that the program is installed under. */
    sha256: z.strictObject({ firecracker: sha256, jailer: sha256 }),
    entered: z.iso.date(),
    evidence: z.string().min(1),
  }),
});
export type ArtifactLock = z.infer<typeof lockSchema>;

export const lockPath = `${import.meta.dirname}/artifacts.lock.json`;

/**
 * The locked binaries. Kernel, Node and Debian packages of the images are in deploy/guest/image/lock.json, Caddy and NATS in
 * deploy/dev/debian.lock.json, npm packages in package-lock.json. An entry without a digest is no entry: this throws.
 */
export function readArtifactLock(path: string = lockPath): ArtifactLock {
  return lockSchema.parse(JSON.parse(readFileSync(path, "utf8")));
}

/**
 * The installed Firecracker and its jailer, one release, with their locked digests. Throws ARTIFACT_MISMATCH when the locked version is not one
 * that production may run, or is for another processor than this one.
 */
export function firecrackerArtifacts(
  sourceDir: string,
  lock: ArtifactLock = readArtifactLock(),
  table: VersionTable = readVersionTable(),
  architecture: string = process.arch,
): ArtifactSet {
  const { version, sha256: digests } = lock.firecracker;
  const verdict = judge(version, { pci: false, production: true }, table);
  if (!verdict.ok) throw new LauncherError("ARTIFACT_MISMATCH", `the lock file's Firecracker: ${verdict.message}`);
  if (architecture !== "x64") {
    throw new LauncherError(
      "ARTIFACT_MISMATCH",
      `the locked Firecracker is for x86_64, this machine is ${architecture}`,
    );
  }
  return { label: `Firecracker ${version}`, sourceDir, sha256: digests, mode: 0o555 };
}
