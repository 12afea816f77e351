import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { imagePackages, offeredKernel, offeredPackage, refreshArchiveIndex } from "./archive.ts";
import { buildImage } from "./image.ts";
import { type LockedPackage, lockPath, sha256Hex, writeLock } from "./lock.ts";
import { imageNames } from "./manifest.ts";
import { nodeBinaryPath, nodePackageVersion } from "./node-runtime.ts";

const help = `Builds the guest images from locked inputs.

  node deploy/guest/image/build.ts [--image ${imageNames.join("|")}] [--out DIR] [--force]
  node deploy/guest/image/build.ts --update-lock

  --image NAME    only this image (default: all of them)
  --out DIR       where to write <image>/{vmlinux,initrd.cpio,rootfs.erofs,manifest.json} (default: .cache/images)
  --force         build even when the outputs are up to date
  --update-lock   rewrite lock.json from what the Debian archive and node_modules offer now
  --help          this text
`;

function progress(line: string): void {
  process.stdout.write(`guest image: ${line}\n`);
}

async function updateLock(): Promise<void> {
  progress("reading the archive's index");
  await refreshArchiveIndex();
  const kernel = await offeredKernel();
  const packages: LockedPackage[] = [kernel.package];
  for (const name of imagePackages) packages.push(await offeredPackage(name));
  const node = { version: await nodePackageVersion(), sha256: sha256Hex(await readFile(nodeBinaryPath)) };
  await writeLock({ kernelRelease: kernel.release, packages, node });
  progress(`wrote ${lockPath}`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      image: { type: "string" },
      out: { type: "string" },
      force: { type: "boolean", default: false },
      "update-lock": { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  if (values["update-lock"]) return updateLock();
  const names = imageNames.filter((name) => values.image === undefined || values.image === name);
  if (names.length === 0) throw new Error(`--image is one of: ${imageNames.join(", ")}`);
  const repository = new URL("../../..", import.meta.url).pathname;
  const out = resolve(values.out ?? join(repository, ".cache/images"));
  for (const name of names) await buildImage(name, { out, repository, force: values.force, progress });
}

main().catch((error: unknown) => {
  process.stderr.write(`guest image: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
